"""The demo as a visitor meets it: the bundled clip to a scene that plays, its numbers and files; what goes wrong."""

import io
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import urlparse

import av
import numpy as np
import pytest
from PIL import Image

from unish.structures import Reconstruction

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shown(visit):
    """A visitor who clicked the example and the button, and sees the scene."""
    visitor = visit()
    visitor.tab.locator("#example button").first.click()
    visitor.tab.locator("#clip video").wait_for()
    visitor.tab.locator("#run").click()
    visitor.tab.locator("#viewer [data-ready=true], [data-testid=toast-body]").first.wait_for()
    assert visitor.tab.locator("[data-testid=toast-body]").all_inner_texts() == []
    return visitor


def pixels(visitor) -> np.ndarray:
    """The 3D view without what floats over it."""
    visitor.tab.evaluate("unishViewers[0].layers.redraw()")
    visitor.tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    over = [visitor.tab.locator(".uv-people"), visitor.tab.locator(".uv-hint")]
    shot = visitor.tab.locator(".uv-plot").screenshot(mask=over)
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int16)


def test_the_example_becomes_a_scene_with_people(shown):
    state = shown.state()
    assert state["frames"] > 10
    assert len(state["people"]) >= 1
    assert state["drawnPoints"] > 1000
    numbers = shown.tab.locator("#numbers").inner_text()
    for expected in (
        f"Frames\n{state['frames']}",
        f"People\n{len(state['people'])}",
        "Camera travelled",
        "Person 1",
        "mini",
    ):
        assert expected in numbers
    assert "synthetic" in numbers, "the weaker weights are announced"


def test_the_slider_moves_the_body(shown):
    shown.set(".uv-frame", 0)
    before, picture = shown.body(), pixels(shown)
    last = shown.state()["frames"] - 1
    shown.set(".uv-frame", last)
    assert shown.state()["frame"] == last
    after = shown.body()
    assert len(after) == len(before)
    assert max(abs(a - b) for a, b in zip(after, before, strict=True)) > 0.02
    assert (np.abs(pixels(shown) - picture).max(-1) > 12).mean() > 0.002


def test_playing_asks_the_server_for_nothing(shown):
    shown.set(".uv-frame", 0)
    shown.set(".uv-confidence", 1)  # few points, so that software GL keeps up
    asked = len(shown.requests)
    shown.tab.locator(".uv-play").click()
    shown.tab.wait_for_function("unishViewers[0].frame >= 2")
    assert shown.state()["playing"]
    shown.tab.locator(".uv-play").dispatch_event("click")
    assert not shown.state()["playing"]
    assert [url for url in shown.requests[asked:] if "heartbeat" not in url] == []


def test_a_higher_confidence_draws_fewer_points(shown):
    def count(threshold: float) -> int:
        shown.set(".uv-confidence", threshold)
        return shown.state()["drawnPoints"]

    everything = count(0)
    middle = shown.tab.evaluate(
        "(() => { const c = unishViewers[0].scene.arrays.still_color; return c[4 * (c.length >> 3) + 3] / 255; })()"
    )
    half = count(round(middle + 0.005, 2))
    assert everything > half > 0
    assert f"{half:,} points" in shown.tab.locator(".uv-count").inner_text()


def test_both_files_are_whole(shown, tmp_path):
    for button, name in (("#page", "viewer.html"), ("#archive", "reconstruction.zip")):
        with shown.tab.expect_download() as waiting:
            shown.tab.locator(button).click()
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)

    page = (tmp_path / "viewer.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert 'id="unish-scene"' in page

    zipfile.ZipFile(tmp_path / "reconstruction.zip").extractall(tmp_path)
    scene = Reconstruction.load(tmp_path / "reconstruction")
    assert len(scene) == shown.state()["frames"]
    assert all(np.isfinite(person.vertices_world).all() for person in scene.people)


def test_nothing_comes_from_elsewhere_and_nothing_is_wrong(shown, app):
    hosts = {urlparse(url).hostname for url in shown.requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    # Gradio starts and stops its own video player as clips come and go; the browser notes that as an error.
    assert [error for error in shown.errors if "play() request was interrupted" not in error] == []
    assert "Traceback" not in app.log.read_text()


def write_video(path, picture: np.ndarray, frames: int = 12) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def run_upload(visitor, path, expected: str) -> str:
    """Upload a file, press the button, and what the page says once it says what is expected."""
    visitor.tab.locator("#clip input[type=file]").set_input_files(path)
    visitor.tab.locator("#clip video").wait_for(state="attached")
    visitor.tab.locator("#run").click()
    said = visitor.tab.locator("[data-testid=toast-body]").filter(has_text=expected).first
    said.wait_for(timeout=90_000)
    return said.inner_text()


def test_a_text_file_named_mp4_is_one_sentence(visit, app, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 50)
    visitor = visit()
    said = run_upload(visitor, path, "Expected a video")
    assert str(app.files) not in said, "the server's paths are its own"
    assert "Traceback" not in visitor.tab.content() + app.log.read_text()


def test_nobody_found_explains_the_box(visit, app, tmp_path):
    path = tmp_path / "empty.mp4"
    write_video(path, np.full((240, 320, 3), 128, np.uint8))
    assert "draw a box around" in run_upload(visit(), path, "Nobody was found")
    assert "Traceback" not in app.log.read_text()


def test_a_clip_that_is_too_long_is_one_sentence(visit, app, tmp_path):
    path = tmp_path / "long.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(400):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    assert "this page takes" in run_upload(visit(), path, "The clip lasts 400 s")


# --- picking people ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picking(visit):
    """A visitor who has clicked the example and sees who is in it."""
    visitor = visit()
    visitor.tab.locator("#example button").first.click()
    visitor.tab.locator("#picture img").wait_for()
    visitor.tab.locator("#chosen input").first.wait_for()
    return visitor


def click_picture(visitor, x: float, y: float) -> None:
    """Click at shares of the picture's width and height, which is shown whole inside its element."""
    box = visitor.tab.locator("#picture img").bounding_box()
    size = visitor.tab.evaluate("(i => [i.naturalWidth, i.naturalHeight])(document.querySelector('#picture img'))")
    scale = min(box["width"] / size[0], box["height"] / size[1])
    left, top = ((box[side] - scale * length) / 2 for side, length in zip(("width", "height"), size, strict=True))
    visitor.tab.mouse.click(box["x"] + left + x * scale * size[0], box["y"] + top + y * scale * size[1])


def boxes(visitor) -> list[bool]:
    return [box.is_checked() for box in visitor.tab.locator("#chosen input").all()]


def until(visitor, condition, seconds: float = 30) -> None:
    for _ in range(int(10 * seconds)):
        if condition():
            return
        visitor.tab.wait_for_timeout(100)
    raise AssertionError(f"not within {seconds} s; {boxes(visitor)}")


def test_a_click_removes_and_picks_a_person(picking):
    picking.tab.locator("#picture").scroll_into_view_if_needed()
    assert boxes(picking)[0] is True
    person = 0.27, 0.45  # where the walker of the bundled clip is in its first frame
    picking.tab.locator("#preview input[type=number]").fill("0")
    picking.tab.keyboard.press("Enter")
    picking.tab.wait_for_timeout(1500)
    click_picture(picking, *person)
    until(picking, lambda: boxes(picking)[0] is False)
    click_picture(picking, *person)
    until(picking, lambda: boxes(picking)[0] is True)


def test_a_box_is_drawn_by_two_clicks_and_nobody_picked_is_said(picking):
    before = len(boxes(picking))
    picking.tab.locator("#mode label").filter(has_text="Draw a box").click()
    click_picture(picking, 0.15, 0.1)
    picking.tab.wait_for_timeout(1500)
    click_picture(picking, 0.4, 0.9)
    until(picking, lambda: len(boxes(picking)) == before + 1 and boxes(picking)[-1])
    picking.tab.locator("#mode label").filter(has_text="Pick").click()
    for box in picking.tab.locator("#chosen input").all():
        box.uncheck()
        picking.tab.wait_for_timeout(500)
    picking.tab.locator("#run").click()
    picking.tab.locator("[data-testid=toast-body]").filter(has_text="Nobody is picked").first.wait_for()


# --- links, visitors, cancelling -----------------------------------------------------------------------------------


def test_a_reload_and_a_shared_link_keep_the_result(shown, visit, app):
    link = shown.tab.url
    assert "?result=" in link
    frames = shown.state()["frames"]
    other = visit()
    other.tab.goto(link)
    other.tab.locator("#viewer [data-ready=true]").wait_for()
    assert other.state()["frames"] == frames
    assert "Camera travelled" in other.tab.locator("#numbers").inner_text()
    other.tab.goto(f"{app.url}/?result={'x' * 22}")
    other.tab.locator("[data-testid=toast-body]").filter(has_text="not kept").first.wait_for()


def test_the_overlay_plays(shown):
    video = shown.tab.locator("#overlay video")
    video.wait_for()
    length = "document.querySelector('#overlay video').duration"
    until(shown, lambda: (shown.tab.evaluate(length) or 0) > 4)


def test_files_for_other_programs_are_made_on_demand(shown, tmp_path):
    tab = shown.tab
    tab.locator("#exports button").first.click()
    for name in ("BVH", "PLY"):
        tab.locator("#formats label").filter(has_text=f"{name}:").click()
    tab.locator("#make").click()
    tab.locator("#made").wait_for()
    with tab.expect_download() as waiting:
        tab.locator("#made").click()
    waiting.value.save_as(tmp_path / "exports.zip")
    with zipfile.ZipFile(tmp_path / "exports.zip") as files:
        assert {"scene.glb", "bvh/person_1.bvh", "ply/scene.ply"} <= set(files.namelist())
        assert files.read("scene.glb")[:4] == b"glTF"


def test_other_visitors_files_are_out_of_reach(shown, app):
    """Nothing lists the results, and a path is served only to those who were given it by name."""
    folders = [path for path in app.files.glob("unish-*") if path.is_dir()]
    assert folders
    for path in ("", "?", folders[0].name[:10]):
        for route in ("/gradio_api/file=", "/file="):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{app.url}{route}{app.files}/{path}", timeout=30)
            assert refused.value.code in (403, 404)
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{app.url}/gradio_api/file=/etc/passwd", timeout=30)


def test_cancel_ends_the_work(visit, app):
    visitor = visit()
    visitor.tab.locator("#example button").first.click()
    visitor.tab.locator("#chosen input").first.wait_for()
    visitor.tab.locator("#run").click()
    visitor.tab.locator("#cancel").click()
    visitor.tab.locator("#cancel").wait_for(state="hidden")
    visitor.tab.wait_for_timeout(4000)
    assert visitor.tab.locator("#viewer [data-ready=true]").count() == 0
    assert "?result=" not in visitor.tab.url
    visitor.tab.locator("#run").click()
    visitor.tab.locator("#viewer [data-ready=true]").wait_for()
    assert "Traceback" not in app.log.read_text()


# --- programs ------------------------------------------------------------------------------------------------------


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
    assert names >= {"reconstruction.safetensors", "reconstruction.json", "report.json", "person_1.bvh"}
    assert Path(page).read_text(encoding="utf-8").startswith("<!doctype html>")
    with av.open(overlay) as video:
        assert sum(1 for _ in video.decode(video=0)) == 5
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
    code = "import sys; sys.modules['spaces'] = None; import app; print(app.reconstruct_on_gpu.__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "reconstruct_on_gpu", done.stderr


def test_the_finished_example_opens_without_a_run(visit):
    visitor = visit()
    visitor.tab.locator("#finished").click()
    visitor.tab.locator("#viewer [data-ready=true]").wait_for()
    assert visitor.state()["people"] and "Camera travelled" in visitor.tab.locator("#numbers").inner_text()
    assert not visitor.tab.locator("#cancel").is_visible() and "?result=" not in visitor.tab.url
    assert visitor.errors == []


def test_cuda_is_touched_inside_the_decorated_function_only(repository):
    """As on ZeroGPU: outside of what `spaces.GPU` wraps there is no device, and whoever asks for one is found out."""
    code = """
import os, sys, types
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
torch.cuda.is_available = lambda: True  # ZeroGPU says so outside as well
looked = []
detect_people = app.detect_people
def look_inside(clip, **options):
    looked.append(bool(inside))
    return detect_people(clip, finder='mini', **options)
app.detect_people = look_inside
clip = app.read(str(app.SAMPLE_CLIP), 3, None, 1.0)
seen = app.look_at(clip, (str(app.SAMPLE_CLIP), 3, None, 1.0), app.find_on_gpu)
torch.cuda.is_available = lambda: False
tracks, finder, _ = app.wanted_people(seen, clip)
app.networks('mini')
scene = app.reconstruct_on_gpu(clip, tracks, finder, 'mini', app.knowledge(clip, '', False, ''), '')
app.build()
print(len(scene), touched, looked)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.stdout.strip() == "3 [] [True]", done.stderr


def test_twenty_visitors_at_once_all_get_a_result_or_are_told_to_wait(app, repository, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from gradio_client import Client, handle_file

    clip = handle_file(str(repository / "unish" / "assets" / "sample_clip.mp4"))

    def ask(number: int) -> str:
        client = Client(app.url, verbose=False, download_files=str(tmp_path / str(number)))
        try:
            archive, *_ = client.predict(clip=clip, fps=2, end_s=0.8, weights="mini", api_name="/reconstruct")
            return "done" if zipfile.is_zipfile(archive) else "broken"
        except Exception as error:
            return "told to wait" if "queue" in str(error).lower() else f"failed: {error}"

    with ThreadPoolExecutor(20) as visitors:
        answers = list(visitors.map(ask, range(20)))
    assert set(answers) <= {"done", "told to wait"}, answers
    assert answers.count("done") >= 10
    assert app.peak_memory_mb() < 4000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)], ids=["desktop", "phone"])
def test_the_page_fits_and_is_kept_as_a_picture(shown, app, size, scheme, screenshots):
    context = shown.tab.context.browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    tab = context.new_page()
    tab.set_default_timeout(120_000)
    tab.goto(shown.tab.url)
    tab.locator("#viewer [data-ready=true]").wait_for()
    tab.wait_for_timeout(1500)
    picture = np.asarray(Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("L"), float)
    tab.screenshot(path=screenshots / f"app-{size[0]}-{scheme}.png", full_page=True)
    assert tab.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"), "nothing sticks out sideways"
    assert (np.median(picture) > 128) == (scheme == "light")
    assert picture.std() > 10
    context.close()
