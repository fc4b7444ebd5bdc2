"""The app as programs meet it: its API, and how its process starts."""

import subprocess
import sys
import zipfile
from pathlib import Path

import av
import pytest

from benchmarks.app_client import running_app

pytestmark = pytest.mark.slow


def test_the_app_measures_the_camera_where_it_moves(repository, tmp_path):
    from gradio_client import Client, handle_file

    clip = handle_file(str(repository / "unish" / "assets" / "sample_clip.mp4"))
    with running_app(tmp_path) as app:
        client = Client(app.url, verbose=False, download_files=str(tmp_path))
        *_, numbers = client.predict(clip=clip, fps=3, start_s=0, end_s=3, weights="mini", api_name="/reconstruct")
    assert "measured from the camera" in numbers


def test_the_api_takes_a_box_and_a_part_of_the_clip(app, repository, tmp_path):
    """What a program gets, and that a drawn box is followed."""
    from gradio_client import Client, handle_file

    client = Client(app.url, verbose=False, download_files=str(tmp_path))
    clip = handle_file(str(repository / "unish" / "assets" / "sample_clip.mp4"))
    part = {"fps": 3, "start_s": 0, "end_s": 1.5, "weights": "mini"}
    archive, page, overlay, numbers = client.predict(
        clip=clip, boxes="100,100,400,460", focal="26mm", height="1.8", formats="bvh", api_name="/reconstruct", **part
    )
    assert "<dd>1</dd>" in numbers, "one box, one person"
    with zipfile.ZipFile(archive) as files:
        names = {name.rsplit("/")[-1] for name in files.namelist()}
    assert Path(page).name == "sample_clip_viewer.html"
    assert names >= {"reconstruction.safetensors", "reconstruction.json", "report.json", "person_1.bvh"}
    assert Path(page).read_text(encoding="utf-8").startswith("<!doctype html>")
    with av.open(overlay) as video:
        assert sum(1 for _ in video.decode(video=0)) > 30, "every frame of the part, not those that were sampled"
    for wrong, sentence in (({"boxes": "banana"}, "banana"), ({"focal": "wide"}, "focal length")):
        with pytest.raises(Exception, match=sentence):
            client.predict(clip=clip, api_name="/reconstruct", **(part | wrong))


def test_weights_that_are_not_there_end_the_start(repository):
    command = [sys.executable, "app.py", "--weights", "nowhere/at/all"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2
    assert "nowhere/at/all" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_runs_without_the_spaces_package(repository):
    code = "import sys; sys.modules['spaces'] = None; import app; print(app.networks.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "networks", done.stderr


def test_cuda_is_touched_inside_the_decorated_function_only(repository):
    """As on ZeroGPU: outside of what `spaces.GPU` wraps there is no device, and whoever asks for one is found out."""
    code = """
import os
import re, pathlib, sys, tempfile, types
inside = []
def gpu(duration):
    def decorate(function):
        def run(*arguments):
            assert 8 <= duration(*arguments) <= 60
            inside.append(True)
            try:
                return function(*arguments)
            finally:
                inside.pop()
        run.__name__ = function.__name__
        return run
    return decorate
sys.modules['spaces'] = types.SimpleNamespace(GPU=gpu)
import torch
touched = []
def refuse(*arguments, **options):
    if not inside:
        touched.append(True)
    raise RuntimeError('no CUDA here')
torch.cuda._lazy_init = refuse
import app
from space import gpu, upload_pipeline
from space.request import ClipRequest, Settings
from space.results import ResultFolders
from space.tasks import Task
from unish.utils.assets import SAMPLE_CLIP
torch.cuda.is_available = lambda: True  # ZeroGPU says so outside as well
looked = []
detect_people = gpu.detect_people
def detect_inside(clip, **options):
    looked.append(bool(inside))
    return detect_people(clip, finder='mini', **options)
gpu.detect_people = detect_inside
folders = ResultFolders.beside(pathlib.Path(tempfile.mkdtemp()) / 'results')
task, request = Task('', 600), ClipRequest.of(SAMPLE_CLIP, 3, None, 1.0)
seen = task.run(lambda report: upload_pipeline.preview_upload(request, folders, task, report))
torch.cuda.is_available = lambda: False
gpu.networks('mini')
settings = Settings.of({'mini': 'mini'}, 'mini')
people = upload_pipeline.selected(seen, upload_pipeline.PeopleSelection.of(None, seen))
made = task.run(lambda report: upload_pipeline.reconstruct_upload(request, people, settings, folders, task, report))
app.build(app.Demo({'mini': 'mini'}, folders, app.Examples([])))
print(len(made.load()), touched, looked)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "3 [] [True]", done.stderr
