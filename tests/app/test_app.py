"""The demo as a visitor meets it: the bundled clip to a scene that plays, its numbers and files; what goes wrong."""

import io
import subprocess
import sys
import zipfile
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
        "Camera path",
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
    assert shown.errors == []
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
    said = visitor.tab.locator("[data-testid=toast-body]").filter(has_text=expected)
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
    assert "x0,y0,x1,y1" in run_upload(visit(), path, "Nobody was found")
    assert "Traceback" not in app.log.read_text()


def test_the_api_takes_a_box_and_a_part_of_the_clip(app, repository, tmp_path):
    """What a program gets, and that a drawn box is followed."""
    from gradio_client import Client, handle_file

    client = Client(app.url, verbose=False, download_files=str(tmp_path))
    clip = handle_file(str(repository / "unish" / "assets" / "sample_clip.mp4"))
    box = "100,100,400,460"
    _scene, numbers, _page, archive = client.predict(clip, 3, 0, 1.5, "mini", box, api_name="/reconstruct")
    assert "<dd>1</dd>" in str(numbers), "one box, one person"
    with zipfile.ZipFile(archive if isinstance(archive, str) else archive["value"]) as files:
        assert {name.rsplit("/")[-1] for name in files.namelist()} >= {
            "reconstruction.safetensors",
            "reconstruction.json",
        }
    with pytest.raises(Exception, match="banana"):
        client.predict(clip, 3, 0, 1.5, "mini", "banana", api_name="/reconstruct")


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
