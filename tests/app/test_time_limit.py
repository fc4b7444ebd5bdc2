"""A request that never ends is ended, over HTTP: the app in this process, its network replaced by one that hangs."""

import threading
import time
from pathlib import Path

import pytest

from space import tasks
from tests.app.conftest import api_values, call_api, upload_file
from tests.helpers.posed import make_posed
from unish.people.detection import DetectedPeople
from unish.structures import PersonTrack
from unish.utils.assets import SAMPLE_CLIP

LIMIT_S = 2.0


@pytest.fixture
def hanging(tmp_path, monkeypatch):
    """(url, demo): for one person the network hangs, for two it answers at once."""
    import numpy as np

    import app
    from space import upload_pipeline
    from space.results import ResultFolders

    released = threading.Event()

    def network(clip, tracks, *rest):
        if len(tracks) == 1:
            released.wait(120)
        return make_posed(4, people=len(tracks))

    def boxes(clip, boxes):
        count = len(clip.frames)
        track = PersonTrack(1, np.tile([1.0, 1, 9, 9], (count, 1)), np.ones(count, bool), np.ones(count))
        return DetectedPeople((track,) * len(boxes), "box")

    monkeypatch.setattr(upload_pipeline, "reconstruct_on_gpu", network)
    monkeypatch.setattr(upload_pipeline, "detect_people", boxes)
    monkeypatch.setattr("space.tasks._GRACE_S", 0.5)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    demo = app.Demo({"mini": "mini"}, ResultFolders.beside(Path(tmp_path / "files")), app.Examples([]), LIMIT_S)
    page = app.build(demo)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False)
    yield url.rstrip("/"), demo
    released.set()
    page.close()


def test_others_wait_no_longer_than_the_limit(hanging):
    url, demo = hanging
    clip = upload_file(url, SAMPLE_CLIP)
    part = [2, 0, 0.8, "mini"]
    began, answers = time.monotonic(), {}

    def ask(name: str, boxes: str) -> None:
        answers[name] = (*call_api(url, "reconstruct", api_values(clip, *part, boxes)), time.monotonic() - began)

    hostile = threading.Thread(target=ask, args=("hostile", "1,1,9,9"))
    hostile.start()
    while not tasks._running:
        time.sleep(0.05)
    demo.time_limit_s = 120  # of those who come later: a busy machine is no hostile one
    ask("visitor", "1,1,9,9\n1,1,9,9")
    hostile.join(60)
    assert answers["hostile"][0] == "error" and "longer than 2 s" in answers["hostile"][1]
    assert answers["visitor"][0] == "complete", answers["visitor"]
