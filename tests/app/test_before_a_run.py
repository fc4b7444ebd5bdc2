"""What the page says of a clip and of the options before the button does anything, and what the button refuses."""

import av
import numpy as np
import pytest

pytestmark = pytest.mark.slow


def write_video(path, picture: np.ndarray, frames: int = 12) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def test_a_bad_file_is_said_beside_it_and_once_more_by_the_button(visit, app, tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 50)
    visitor = visit()
    visitor.upload(path)
    note = visitor.tab.locator("#note p.error")
    note.wait_for()
    assert "couldn't open this file as a video" in note.inner_text()
    assert visitor.toasts() == [], "said once, beside the clip"
    visitor.tab.locator("#run").click()
    visitor.tab.locator("[data-testid=toast-body]").filter(has_text="couldn't open").first.wait_for()
    said = " ".join(visitor.toasts())
    assert said.count("couldn't open this file") == 1 and str(app.files) not in said
    visitor.tab.locator("#cancel").wait_for(state="hidden")
    assert visitor.tab.locator("#run").is_visible(), "an error that comes at once leaves no Cancel behind"
    assert not app.failed() and "Traceback" not in visitor.tab.content()
    visitor.tab.locator("#run").click()
    visitor.tab.wait_for_timeout(3000)
    said = visitor.tab.locator("[data-testid=toast-text]").all_inner_texts()
    assert len(said) == 1, "what was wrong with the run before is over with the next one"


def test_nobody_found_explains_the_box(visit, app, tmp_path):
    path = tmp_path / "empty.mp4"
    write_video(path, np.full((240, 320, 3), 128, np.uint8))
    visitor = visit()
    visitor.upload(path)
    visitor.tab.locator(".pp-hint").filter(has_text="No people found. Drag a box").wait_for()
    visitor.tab.locator("#run").click()
    visitor.tab.locator("[data-testid=toast-body]").filter(has_text="No people found. Drag a box").wait_for()
    assert not app.failed()


def still_video(path, seconds: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))


def test_a_clip_that_is_too_long_is_said_before_the_run(visit, tmp_path):
    still_video(tmp_path / "long.mp4", 400)
    visitor = visit()
    visitor.upload(tmp_path / "long.mp4")
    visitor.tab.locator("#note p.error").filter(has_text="6 min 40 s long; the limit here is 5 min").wait_for()


def test_a_clip_that_will_be_cut_is_said_before_the_run(visit, tmp_path):
    still_video(tmp_path / "walk.mp4", 180)
    visitor = visit()
    visitor.upload(tmp_path / "walk.mp4")
    note = visitor.tab.locator("#note p.warning")
    note.filter(has_text="Only 0 s to 50 s of 3 min will be used").wait_for()
    visitor.tab.locator("#options button").first.click()
    visitor.tab.locator("#from textarea, #from input").fill("2:20")
    visitor.tab.keyboard.press("Tab")
    note.wait_for(state="hidden")


@pytest.mark.parametrize("first", ["options", "clip"])
def test_the_options_change_nothing_by_being_looked_at(visit, first):
    visitor = visit()

    def open_options() -> None:
        visitor.tab.locator("#options button").first.click()
        visitor.tab.locator("#from textarea, #from input").wait_for()

    def open_clip() -> None:
        visitor.add()

    steps = [open_options, open_clip]
    for step in steps if first == "options" else reversed(steps):
        step()
    visitor.tab.locator("#from textarea, #from input").fill("0.2")
    visitor.tab.locator("#to textarea, #to input").fill("1")
    visitor.tab.locator("#from textarea, #from input").fill("")
    visitor.tab.keyboard.press("Tab")
    visitor.tab.locator("#run").click()
    visitor.tab.locator("#viewer [data-ready=true], [data-testid=toast-body]").first.wait_for()
    assert visitor.toasts() == []
    assert visitor.state()["frames"] == 6, "of one second"
