"""The demo as a visitor meets it: the bundled clip to a scene that plays, its numbers and files; what goes wrong."""

import io
import re
import urllib.error
import urllib.request
import zipfile
from urllib.parse import urlparse

import av
import numpy as np
import pytest
from PIL import Image

from space.style import KEEP_LINK
from unish.structures import Reconstruction
from unish.utils.assets import SAMPLE_CLIP
from unish.viewer.page import NotebookView

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shown(long_visit):
    """A visitor who clicked the example and the button, and sees the scene."""
    visitor = long_visit()
    visitor.add()
    visitor.tab.locator("#run").click()
    visitor.tab.locator("#viewer [data-ready=true], [data-testid=toast-body]").first.wait_for()
    assert visitor.tab.locator("[data-testid=toast-body]").all_inner_texts() == []
    visitor.tab.locator("#numbers").wait_for()
    visitor.tab.wait_for_function("unishViewers[0].scene.meta.bodies.motions.length")  # both: fitted, and the network's
    return visitor


def test_the_scene_comes_before_its_fitted_bodies_and_is_not_loaded_twice(shown, app):
    assert shown.tab.evaluate("unishViewers[0].loads") == 1
    assert sum(url.endswith("/early.bin") for url in shown.requests) == 1
    assert sum(url.endswith("/change.bin") for url in shown.requests) == 1
    assert not [url for url in shown.requests if url.endswith("/scene.bin")]
    (change,) = (app.files.joinpath(*url.split("/")[-2:]) for url in shown.requests if url.endswith("/change.bin"))
    whole = change.with_name("scene.bin").stat().st_size
    assert whole < 2.5e6 and change.stat().st_size < 0.35 * whole, "what the bundled clip costs to send"
    assert shown.tab.locator(".uv-working").is_hidden()
    assert shown.errors == []


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
    assert "small bundled model" in numbers, "the weaker weights are announced"


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
    # The video beside the scene may still be on its way, in parts.
    more = [url for url in shown.requests[asked:] if "heartbeat" not in url]
    assert [url for url in more if not url.endswith("_overlay.mp4")] == []


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


def test_both_files_are_whole_and_named_after_the_clip(shown, tmp_path):
    for button, name in (("#page", "sample_clip_viewer.html"), ("#archive", "sample_clip_unish.zip")):
        with shown.tab.expect_download() as waiting:
            shown.tab.locator(button).click()
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)

    page = (tmp_path / "sample_clip_viewer.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert 'id="unish-scene"' in page
    assert len(page) < 5e6 and len(NotebookView(page)._repr_html_()) < 5e6, "small enough to be sent by mail"

    zipfile.ZipFile(tmp_path / "sample_clip_unish.zip").extractall(tmp_path)
    scene = Reconstruction.load(tmp_path / "sample_clip")
    assert len(scene) == shown.state()["frames"]
    assert all(np.isfinite(person.vertices_world).all() for person in scene.people)


def test_nothing_comes_from_elsewhere_and_nothing_is_wrong(shown, app):
    hosts = {urlparse(url).hostname for url in shown.requests if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    # Gradio starts and stops its own video player as clips come and go; the browser notes that as an error.
    assert [error for error in shown.errors if "play() request was interrupted" not in error] == []
    assert not app.failed()


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
    other.tab.locator("[data-testid=toast-body]").filter(has_text="has expired").first.wait_for()


VIDEO = "document.querySelector('.vc-screen video')"


def test_the_video_keeps_time_with_the_scene(shown):
    tab = shown.tab
    tab.locator("#overlay video").wait_for()
    shown.until(lambda: (tab.evaluate(f"{VIDEO}.duration") or 0) > 4)
    shown.set(".uv-frame", 12)
    shown.until(lambda: abs(tab.evaluate(f"{VIDEO}.currentTime - unishViewers[0].scene.meta.times_s[12]")) < 0.01)
    tab.locator(".uv-speed").select_option("2")
    tab.locator(".uv-play").dispatch_event("click")
    shown.until(lambda: not tab.evaluate(f"{VIDEO}.paused") and tab.evaluate(f"{VIDEO}.playbackRate") == 2)
    tab.locator("#overlay video").dispatch_event("click")
    shown.until(lambda: tab.evaluate(f"{VIDEO}.paused") and not shown.state()["playing"])
    tab.locator(".uv-speed").select_option("1")


def test_a_line_between_video_and_scene_is_dragged_and_moved_by_keys(shown):
    tab = shown.tab
    tab.locator(".vc-place").select_option("split")
    line = tab.locator(".uv-stage > .vc-line")
    line.wait_for()
    assert shown.state()["follow"] == "clip", "both from the clip's own camera"
    stage, grip = tab.locator(".uv-stage").bounding_box(), line.bounding_box()
    tab.mouse.move(grip["x"] + 16, grip["y"] + grip["height"] / 2)
    tab.mouse.down()
    tab.mouse.move(stage["x"] + 0.25 * stage["width"], grip["y"] + grip["height"] / 2, steps=3)
    tab.mouse.up()
    assert line.get_attribute("aria-valuenow") == "25"
    assert tab.evaluate("document.querySelector('.uv-stage > .vc-screen').style.clipPath") == "inset(0px 75% 0px 0px)"
    tab.keyboard.press("ArrowRight")
    assert line.get_attribute("aria-valuenow") == "27"
    tab.locator(".vc-place").select_option("below")
    assert line.count() == 0 and tab.locator("#overlay .vc-screen video").is_visible()
    tab.locator(".uv-home").click()


def test_the_original_video_comes_when_it_is_asked_for(shown, app):
    before = shown.tab.evaluate(f"{VIDEO}.src")
    shown.tab.locator(".vc-kind").select_option("original")
    shown.until(lambda: shown.tab.evaluate(f"{VIDEO}.src") != before, 90)
    assert shown.tab.locator(".vc-save").get_attribute("download") == "sample_clip_video.mp4"
    shown.tab.locator(".vc-kind").select_option("overlay")
    shown.until(lambda: shown.tab.evaluate(f"{VIDEO}.src") == before)


def test_files_for_other_programs_are_made_on_demand(shown, tmp_path):
    tab = shown.tab
    tab.locator("#exports button").first.click()
    mesh = tab.locator("#formats").get_by_role("radio", name="Mesh")
    for visible in (False, True):
        tab.locator("#formats label").filter(has_text="GLB:").click()
        mesh.wait_for(state="visible" if visible else "hidden")
    for name in ("BVH", "PLY", "MP4"):
        tab.locator("#formats label").filter(has_text=f"{name}:").click()
    tab.locator("#make").click()
    tab.locator("#making .progress-bar-wrap").wait_for()
    tab.locator("#made").wait_for()
    assert tab.locator("#making").is_hidden()
    assert re.search(r"GLB [\d.]+ MB, BVH [\d.]+ MB, PLY [\d.]+ MB, MP4 [\d.]+ MB", tab.locator("#made").inner_text())
    groups = tab.locator("#formats fieldset").all_inner_texts()
    assert [group.split("\n")[0] for group in groups if "BVH:" in group or "COLMAP:" in group] == [
        "Blender and other 3-D editors",
        "Gaussian splats",
    ]
    with tab.expect_download() as waiting:
        tab.locator("#made").click()
    assert waiting.value.suggested_filename == "sample_clip_glb-bvh-ply-mp4.zip"
    waiting.value.save_as(tmp_path / "exports.zip")
    with zipfile.ZipFile(tmp_path / "exports.zip") as files:
        names = {f"sample_clip/{name}" for name in ("scene.glb", "bvh/person_1.bvh", "ply/scene.ply", "overlay.mp4")}
        assert names <= set(files.namelist())
        assert files.read("sample_clip/scene.glb")[:4] == b"glTF"
        files.extractall(tmp_path)
    with av.open(str(tmp_path / "sample_clip" / "overlay.mp4")) as video, av.open(str(SAMPLE_CLIP)) as clip:
        sizes = [(one.streams.video[0].width, one.streams.video[0].height) for one in (video, clip)]
    assert sizes[0] == sizes[1], "as large as the upload"


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


def settled_box(tab, selector: str) -> dict[str, float]:
    """Where an element is, once what loads above it has stopped moving it."""
    box, still = tab.locator(selector).bounding_box(), 0
    for _ in range(60):
        tab.wait_for_timeout(250)
        now = tab.locator(selector).bounding_box()
        still = still + 1 if now == box else 0
        box = now
        if still == 4:
            break
    return box


def test_cancel_takes_the_buttons_place_says_so_and_ends_the_work(visit, app):
    visitor = visit()
    tab = visitor.tab
    visitor.add()
    place = settled_box(tab, "#run")
    tab.locator("#run").press("Enter")
    tab.locator("#cancel").wait_for()
    assert tab.locator("#cancel").bounding_box()["y"] == pytest.approx(place["y"], abs=2)
    assert tab.locator("#cancel").bounding_box()["y"] < 700, "in view, where the button was pressed"
    assert not tab.locator("#run").is_visible()
    tab.wait_for_function("document.activeElement.id === 'cancel'")  # the focus is handed on, as the place is
    tab.keyboard.press("Enter")
    tab.locator("[data-testid=toast-body]").filter(has_text="Cancelled").first.wait_for()
    tab.wait_for_function("document.activeElement.id === 'run'")
    tab.wait_for_timeout(4000)
    assert len(visitor.toasts()) == 1, "said once"
    assert tab.locator("#viewer [data-ready=true]").count() == 0
    assert "?result=" not in tab.url
    visitor.shorten(1)
    tab.locator("#run").focus()
    tab.keyboard.press("Enter")
    tab.locator("#viewer [data-ready=true]").wait_for()
    tab.wait_for_function("document.activeElement.matches('#viewer .unish-viewer')")
    tab.keyboard.press("Space")
    assert visitor.state()["playing"], "its keys work at once"
    tab.keyboard.press("Space")
    assert not app.failed()


def results_of(app) -> int:
    return sum(1 for path in app.files.glob("unish-*/scene.bin"))


def test_a_closed_tab_ends_its_work(visit, app):
    visitor, other = visit(), visit()
    other.shorten(1)
    for one in (visitor, other):
        one.add()
    before = results_of(app)
    visitor.tab.locator("#run").click()
    visitor.tab.locator("#viewer .progress-level-inner").filter(has_text="Reading").or_(
        visitor.tab.locator("#viewer .progress-level-inner").filter(has_text="Reconstructing")
    ).first.wait_for()
    visitor.tab.close()
    other.tab.locator("#run").click()
    other.tab.locator("#numbers").wait_for()
    assert results_of(app) == before + 1, "one works at a time: the closed one's would have been written first"


def test_on_a_space_the_page_around_learns_the_link(visit):
    """There the app stands in a frame, and the address bar is that of huggingface.co."""
    tab = visit().tab
    tab.evaluate("{ window.told = []; window.parent = {postMessage: (...words) => told.push(words)}; }")
    for query in ("", "result=A-name_of_22_letters00"):
        tab.evaluate(KEEP_LINK, query)
    assert tab.evaluate("told") == [
        [{"queryString": query}, "https://huggingface.co"] for query in ("", "result=A-name_of_22_letters00")
    ]
    assert tab.url.endswith("?result=A-name_of_22_letters00")


@pytest.mark.long
@pytest.mark.parametrize(
    ("size", "scheme"), [((1280, 800), "light"), ((390, 844), "dark")], ids=["desktop-light", "phone-dark"]
)
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
