"""The page in real Chromium without a network: both drawing paths, from the page's state and from its pixels."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from unish.viewer import decode_scene, notebook_view, page, scene_arrays, write_html

pytestmark = pytest.mark.slow

MAX_POINTS = 12_000
HOSTILE = (
    "<img src=x onerror=\"document.title='hacked'\"></script><script>document.title='hacked'</script>{{TITLE}}${1+1}"
)


class Opened:
    """A page with one viewer in it, and what a test asks of it."""

    def __init__(self, tab, requests: list[str], errors: list[str]):
        self.tab, self.requests, self.errors = tab, requests, errors

    def state(self) -> dict:
        return self.tab.evaluate("JSON.parse(JSON.stringify(unishViewers[0].state))")

    def until(self, condition: str, seconds: float = 60) -> None:
        """Wait for a JavaScript condition (Playwright's own waiting needs eval, which the page forbids)."""
        for _ in range(int(10 * seconds)):
            if self.tab.evaluate(condition):
                return
            self.tab.wait_for_timeout(100)
        raise AssertionError(f"not within {seconds} s: {condition}")

    def pixels(self) -> np.ndarray:
        """The 3D view, once what was asked for is drawn."""
        self.until("unishViewers[0].state.settled")
        self.tab.evaluate("unishViewers[0].layers.redraw()")
        self.tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot = self.tab.locator(".uv-plot").screenshot(
            mask=[self.tab.locator(".uv-people"), self.tab.locator(".uv-hint")]
        )
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), np.int16)

    def body_x(self, person: int = 0) -> np.ndarray:
        if self.state()["path"] == "direct":
            return np.array(self.tab.evaluate(f"[...unishViewers[0].scene.body({person}, unishViewers[0].frame)[0]]"))
        return np.array(self.tab.evaluate(f"Array.from(unishViewers[0].plot.data[{person}].x)"))

    def set(self, control: str, value: float) -> None:
        self.tab.locator(control).fill(str(value))

    def press(self, layer: str) -> None:
        self.tab.locator(f"[data-layer={layer}]").click()

    def drag(self) -> None:
        box = self.tab.locator(".uv-plot").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.tab.mouse.move(*middle)
        self.tab.mouse.down()
        self.tab.mouse.move(middle[0] + 60, middle[1] + 20, steps=5)
        self.tab.mouse.up()
        self.settle()

    def settle(self) -> None:
        """Wait until the camera, which glides to where it was sent, stands still."""
        before = None
        for _ in range(200):
            if (now := self.state()["camera"]) == before:
                return
            before = now
            self.tab.wait_for_timeout(300)
        raise AssertionError("the camera never stood still")


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """Share of pixels that differ visibly."""
    return float((np.abs(before - after).max(-1) > 12).mean())


@pytest.fixture(scope="module")
def open_page(browser):
    contexts = []

    def open_file(path, query: str = "", **options) -> Opened:
        context = browser.new_context(**({"viewport": {"width": 700, "height": 560}, "offline": True} | options))
        contexts.append(context)
        context.set_default_timeout(120_000)  # of patience on a busy machine; nothing waits this long otherwise
        tab = context.new_page()
        requests, errors = [], []
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        tab.goto(path.as_uri() + query)
        tab.wait_for_selector(".unish-viewer[data-ready=true]")
        return Opened(tab, requests, errors)

    yield open_file
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def reconstruction(room):
    return room(12, names=("Ada", HOSTILE))


@pytest.fixture(scope="module")
def file(reconstruction, tmp_path_factory):
    notes = dataclasses.replace(reconstruction.provenance, warnings=("The weights never saw <b>real</b> footage.",))
    noted = dataclasses.replace(reconstruction, provenance=notes)
    return write_html(noted, tmp_path_factory.mktemp("page") / "a page.html", title=HOSTILE, max_points=MAX_POINTS)


@pytest.fixture(scope="module")
def pages(open_page, file):
    """The file opened twice: drawn through Plotly's scene objects, and through its public functions."""
    return {"direct": open_page(file), "public": open_page(file, "?fallback=1")}


RESET = """async () => {
  const v = unishViewers[0], press = (button, on) => button.ariaPressed === String(on) || button.click();
  v.opening.stop();
  v.pause();
  for (const button of v.find('.uv-layers').children) press(button, !['grid', 'points'].includes(button.dataset.layer));
  for (const button of v.find('.uv-people').children) press(button, true);
  v.find('.uv-confidence').value = v.scene.meta.default_confidence;
  v.find('.uv-size').value = v.find('.uv-speed').value = 1;
  v.find('.uv-style').value = 'surface';
  v.find('.uv-scene-mode').value = 'both';
  v.refresh();
  v.setFrame(0);
  await v.resetView();
}"""


@pytest.fixture(params=["direct", "public"])
def viewer(request, pages):
    """Both pages in turn, at the first frame and with every control where it starts."""
    opened = pages[request.param]
    assert opened.state()["path"] == request.param
    opened.tab.evaluate(RESET)
    return opened


@pytest.fixture
def direct(pages):
    pages["direct"].tab.evaluate(RESET)
    return pages["direct"]


def test_the_time_slider_moves_the_body(viewer, reconstruction):
    scene = scene_arrays(reconstruction, MAX_POINTS)
    step = (np.array(scene.meta["bodies"]["high"]) - scene.meta["bodies"]["low"])[0] / 65535
    turn = np.array(scene.meta["display_from_world"])
    before = viewer.pixels()
    for frame in (9, 3):
        viewer.set(".uv-frame", frame)
        assert viewer.state()["frame"] == frame
        expected = (reconstruction.people[0].vertices_world[frame] @ turn.T)[:, 0]
        assert np.abs(viewer.body_x() - expected).max() <= step
    assert viewer.tab.locator(".uv-clock").inner_text() == "0.50 s · 4/12"
    assert changed(before, viewer.pixels()) > 0.01


def test_the_threshold_changes_how_many_points_are_drawn(viewer):
    before, all_points = viewer.pixels(), viewer.state()["drawnPoints"]
    viewer.set(".uv-confidence", 0.8)
    kept = viewer.state()["drawnPoints"]
    assert 0 < kept < 0.4 * all_points
    assert changed(before, viewer.pixels()) > 0.1
    assert viewer.tab.locator(".uv-count").inner_text().startswith(f"{kept:,} points")
    viewer.set(".uv-confidence", 0)
    assert viewer.state()["drawnPoints"] > all_points


def test_each_layer_switches_on_and_off(viewer):
    start = viewer.pixels()
    for layer in ("scene", "people", "camera", "grid"):
        was = viewer.state()["layers"][layer]
        viewer.press(layer)
        assert viewer.state()["layers"][layer] is not was
        assert changed(start, viewer.pixels()) > 0.0005, layer
        viewer.press(layer)
    assert changed(start, viewer.pixels()) < 0.0005


def test_point_size_changes_the_picture_and_not_the_count(direct):
    direct.tab.locator(".uv-style").select_option("points")
    before, state = direct.pixels(), direct.state()
    direct.set(".uv-size", 3)
    assert changed(before, direct.pixels()) > 0.02
    assert direct.state()["drawnPoints"] == state["drawnPoints"]


def test_the_camera_stays_where_it_was_turned(viewer):
    first = viewer.state()["camera"]
    viewer.drag()
    turned = viewer.state()["camera"]
    assert abs(turned["eye"]["x"] - first["eye"]["x"]) > 0.05
    viewer.set(".uv-frame", 5)
    viewer.set(".uv-confidence", 0.4)
    viewer.set(".uv-size", 2)
    viewer.press("camera")
    viewer.tab.locator(".uv-play").click()
    viewer.tab.wait_for_timeout(600)
    viewer.tab.locator(".uv-play").click()
    viewer.pixels()
    kept = viewer.state()["camera"]
    for part in ("eye", "center", "up"):
        assert kept[part] == pytest.approx(turned[part], abs=1e-3)
    viewer.tab.locator(".uv-home").click()
    viewer.settle()
    assert viewer.state()["camera"]["eye"] == pytest.approx(first["eye"], abs=1e-3)


def test_the_wheel_zooms_and_a_new_size_keeps_the_view(direct):
    def distance(camera):
        return np.linalg.norm([camera["eye"][axis] - camera["center"][axis] for axis in "xyz"])

    first = distance(direct.state()["camera"])
    direct.tab.mouse.move(300, 200)
    direct.tab.mouse.wheel(0, -300)
    direct.settle()
    closer = direct.state()["camera"]
    assert 0.5 * first < distance(closer) < 0.9 * first
    direct.tab.set_viewport_size({"width": 620, "height": 600})
    direct.settle()
    assert direct.state()["camera"]["eye"] == pytest.approx(closer["eye"], abs=1e-3)
    assert np.ptp(direct.pixels(), axis=(0, 1)).min() > 60
    direct.tab.set_viewport_size({"width": 700, "height": 560})


def test_it_plays_in_the_browser_and_stops(viewer):
    viewer.tab.locator(".uv-play").click()
    viewer.until("unishViewers[0].frame >= 2")
    assert viewer.state()["playing"]
    viewer.tab.locator(".uv-play").click()
    stopped = viewer.state()
    viewer.tab.wait_for_timeout(500)
    assert not stopped["playing"] and viewer.state()["frame"] == stopped["frame"]


def test_time_passes_as_in_the_clip(direct):
    """6 frames a second: real time, twice that at 2×, and round again at the end (2 s)."""
    direct.tab.evaluate("() => { const v = unishViewers[0]; v.time = 0; v.advance(0.99); }")
    assert direct.state()["frame"] == 5
    direct.tab.locator(".uv-speed").select_option("2")
    direct.tab.evaluate("unishViewers[0].advance(0.4)")
    assert direct.state()["frame"] == 10
    direct.tab.evaluate("unishViewers[0].advance(0.2)")
    assert direct.state()["frame"] == 1
    direct.tab.locator(".uv-speed").select_option("1")


def test_keys(direct):
    direct.tab.locator(".uv-stage").click(position={"x": 40, "y": 200})
    direct.tab.keyboard.press("ArrowRight")
    direct.tab.keyboard.press("ArrowRight")
    direct.tab.keyboard.press("ArrowLeft")
    assert direct.state()["frame"] == 1
    direct.tab.keyboard.press(" ")
    assert direct.state()["playing"]
    direct.tab.keyboard.press(" ")
    assert not direct.state()["playing"]
    first = direct.state()["camera"]
    direct.drag()
    direct.tab.keyboard.press("Home")
    direct.settle()
    assert direct.state()["camera"]["eye"] == pytest.approx(first["eye"], abs=1e-3)


def test_one_person_can_be_hidden(direct):
    assert direct.state()["bodies"] == [True, True]
    direct.tab.locator(".uv-people button").nth(0).click()
    assert direct.state()["bodies"] == [False, True]


def test_text_from_outside_stays_text_and_nothing_is_fetched(direct, file):
    assert direct.tab.locator(".uv-people button").nth(1).inner_text() == HOSTILE
    assert direct.tab.locator(".uv-notes li").text_content() == "The weights never saw <b>real</b> footage."
    assert direct.tab.title() == HOSTILE
    assert direct.tab.locator("img[src=x], .uv-notes b").count() == 0
    outside = [url for url in direct.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == [] and direct.errors == []
    assert 'onerror="' not in file.read_text(encoding="utf-8").split("<body>")[0]


def test_controls_have_names(direct):
    unnamed = direct.tab.evaluate(
        "[...document.querySelectorAll('.unish-viewer :is(button, input, select)')].filter(e =>"
        " !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).length"
    )
    assert unnamed == 0


@pytest.fixture(scope="module")
def empty_room(open_page, room, tmp_path_factory):
    path = write_html(room(1, names=()), tmp_path_factory.mktemp("empty") / "scene.html", max_points=3000)
    return open_page(path, viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True, is_mobile=True)


def test_one_frame_without_people_on_a_dark_phone(empty_room):
    state = empty_room.state()
    assert state["frames"] == 1 and state["bodies"] == [] and state["drawnPoints"] > 1000
    assert empty_room.pixels().max(-1).mean() < 200  # dark ground
    assert np.ptp(empty_room.pixels(), axis=(0, 1)).min() > 60  # with the room on it
    assert not empty_room.tab.locator(".uv-play").is_visible()
    assert not empty_room.tab.locator("[data-layer=people]").is_visible()
    assert empty_room.tab.evaluate("document.documentElement.scrollWidth") <= 390
    outside = empty_room.tab.evaluate(
        "[...document.querySelectorAll('.uv-controls *')].filter(e => e.getBoundingClientRect().right > 390).length"
    )
    assert outside == 0 and empty_room.errors == []


def test_a_lost_graphics_context_is_said_and_mended(empty_room):
    empty_room.tab.evaluate(
        "document.querySelector('.uv-plot canvas').getContext('webgl').getExtension('WEBGL_lose_context').loseContext()"
    )
    message = empty_room.tab.locator(".uv-message")
    message.get_by_role("button").click()
    empty_room.tab.wait_for_selector(".unish-viewer[data-ready=true]")
    assert not message.is_visible()
    assert np.ptp(empty_room.pixels(), axis=(0, 1)).min() > 60


def test_an_image_of_the_clip_is_seen_until_the_scene_is(empty_room):
    seen = empty_room.tab.evaluate("""async () => {
      const v = unishViewers[0], poster = v.find('.uv-poster'), url = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';
      const loaded = v.take({scene: {buffer: v.buffer}, poster: {url}}), first = [poster.hidden, poster.src === url];
      await loaded;
      return [...first, poster.hidden, v.state.ready];
    }""")
    assert seen == [False, True, True, True]


def test_a_scene_that_does_not_come_is_said(empty_room):
    empty_room.tab.evaluate("unishViewers[0].load({url: 'https://127.0.0.1:9/scene.bin'})")
    message = empty_room.tab.locator(".uv-message")
    message.get_by_role("button").wait_for()
    assert "Could not show the scene" in message.inner_text()
    empty_room.tab.evaluate("unishViewers[0].load({base64: btoa('something else')})")
    empty_room.until("document.querySelector('.uv-message').innerText.includes('not a unish scene')")


def test_the_file_holds_the_scene_and_asks_for_nothing(file, reconstruction):
    text = file.read_text(encoding="utf-8")
    inside = re.search(r'id="unish-scene">([^<]+)</script>', text).group(1)
    scene = decode_scene(base64.b64decode(inside))
    assert [person["name"] for person in scene.meta["people"]] == ["Ada", HOSTILE]
    assert "default-src 'none'" in text
    own = "".join([page.template(), page.css_template(), page.script()])
    assert not re.search(r"https?://|@import|url\(", own)


def test_the_parts_for_gradio_carry_no_placeholders():
    for part in (page.template(), page.css_template()):
        assert "${" not in part and "{{" not in part and "`" not in part
    assert page.plotly_js_path().name == "plotly.min.js"
    assert page.plotly_js_path().as_posix() in page.head()
    assert "watch('value'" in page.js_on_load()


def test_a_notebook_shows_the_same_page(room):
    view = notebook_view(room(1, names=(HOSTILE,)), max_points=200)
    shown = view._repr_html_()
    assert shown.startswith("<iframe srcdoc=") and shown.count('"') == 8
    assert json.dumps(HOSTILE) not in shown
