"""The way in: a scene that introduces itself; the view by keys and by two fingers; a link that opens it as it was."""

import base64
from urllib.parse import parse_qs, urlparse

import av
import numpy as np
import pytest

from tests.viewer.test_page import MAX_POINTS, RESET, Opened
from tests.viewer.test_page import open_page as open_page
from unish.viewer import write_html

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(room, tmp_path_factory):
    return write_html(room(12), tmp_path_factory.mktemp("opening") / "a.html", max_points=MAX_POINTS)


@pytest.fixture(scope="module")
def opened(open_page, file) -> Opened:
    return open_page(file, has_touch=True)


@pytest.fixture
def viewer(opened) -> Opened:
    opened.tab.evaluate(RESET)
    opened.tab.evaluate("unishViewers[0].element.focus()")
    opened.settle()
    return opened


def distance(camera: dict) -> float:
    return sum((camera["eye"][axis] - camera["center"][axis]) ** 2 for axis in "xyz") ** 0.5


def test_it_starts_in_the_clips_camera_and_turns_until_it_is_touched(viewer):
    first, clip = viewer.tab.evaluate("""() => {  // at one moment: the clip plays
      const {opening, follow} = unishViewers[0];
      opening.longest_ms = Infinity;  // it is drawn without a graphics card
      opening.start();
      return [opening.view(), follow.clip()];
    }""")
    assert first["fov"] == pytest.approx(clip["fov"]) and first["camera"]["eye"] == pytest.approx(clip["camera"]["eye"])
    assert viewer.state()["playing"] and not viewer.tab.evaluate("unishViewers[0].cameraVisible")
    viewer.tab.evaluate("unishViewers[0].opening.elapsed_s = 7")
    viewer.until("unishViewers[0].cameraVisible && unishViewers[0].layers.fov === PLOTLY_FOV", 10)
    before = viewer.state()["camera"]["eye"]
    viewer.until("unishViewers[0].opening.elapsed_s > 7.5", 10)
    assert viewer.state()["camera"]["eye"] != pytest.approx(before, abs=1e-4), "it orbits"
    viewer.tab.mouse.move(300, 200)
    viewer.tab.mouse.down()
    viewer.tab.mouse.up()
    viewer.settle()
    assert not viewer.state()["opening"] and viewer.state()["playing"]
    viewer.tab.evaluate("unishViewers[0].pause()")


def test_who_asks_for_less_motion_is_shown_none(viewer):
    viewer.tab.emulate_media(reduced_motion="reduce")
    viewer.tab.evaluate("unishViewers[0].opening.start()")
    viewer.tab.emulate_media(reduced_motion="no-preference")
    assert not viewer.state()["opening"] and not viewer.state()["playing"]


def test_a_machine_that_draws_too_slowly_is_shown_a_scene_that_stands_still(viewer):
    viewer.tab.evaluate("Object.assign(unishViewers[0].opening, {longest_ms: 0}).start()")
    viewer.until("!unishViewers[0].opening.running", 30)
    viewer.settle()
    first = viewer.tab.evaluate("unishViewers[0].firstView()")
    assert not viewer.state()["playing"] and viewer.tab.evaluate("unishViewers[0].layers.fov === PLOTLY_FOV")
    assert viewer.state()["camera"]["eye"] == pytest.approx(first["eye"], abs=1e-3)


def test_keys_turn_move_and_zoom(viewer):
    first = viewer.state()["camera"]

    def press(key: str) -> dict:
        viewer.tab.keyboard.press(key)
        viewer.settle()
        return viewer.state()["camera"]

    turned = press("l")
    assert turned["center"] == pytest.approx(first["center"], abs=1e-3)
    assert distance(turned) == pytest.approx(distance(first), rel=1e-3)
    assert turned["eye"]["x"] != pytest.approx(first["eye"]["x"], abs=1e-3)
    assert press("i")["eye"]["z"] > turned["eye"]["z"]
    before = press("k")
    after = press("Shift+I")
    assert after["center"]["z"] > before["center"]["z"]
    assert distance(press("+")) == pytest.approx(distance(after) / 1.15, rel=1e-3)
    for _ in range(30):
        viewer.tab.keyboard.press("i")
    viewer.settle()
    top = viewer.state()["camera"]
    assert abs(top["eye"]["z"] - top["center"]["z"]) < distance(top), "never over the top"


def test_two_fingers_move_the_view_as_well(viewer):
    before = viewer.state()["camera"]
    viewer.tab.evaluate("""() => {
      const target = document.querySelector('.uv-plot');
      const touch = (type, y) => target.dispatchEvent(new TouchEvent(type, {
        bubbles: true, cancelable: true,
        touches: [1, 2].map(identifier => new Touch({identifier, target, clientX: 200 + 100 * identifier, clientY: y})),
      }));
      touch('touchstart', 150); touch('touchmove', 190);
    }""")
    viewer.settle()
    after = viewer.state()["camera"]
    assert after["center"]["z"] > before["center"]["z"], "the scene goes down with the fingers"
    assert distance(after) == pytest.approx(distance(before), rel=1e-3), "as far apart as they were"


def test_a_link_opens_at_the_same_moment_from_the_same_place(viewer, open_page, file):
    viewer.set(".uv-frame", 5)
    viewer.tab.keyboard.press("l")
    viewer.settle()
    viewer.tab.locator(".uv-share-button").click()
    viewer.tab.locator(".uv-copy-embed").click()
    assert viewer.tab.locator(".uv-shared").input_value().startswith('<iframe src="file:')
    viewer.tab.locator(".uv-copy-link").click()
    link = urlparse(viewer.tab.locator(".uv-shared").input_value())
    assert float(parse_qs(link.fragment)["time"][0]) == pytest.approx(5 / 6, abs=0.01)
    other = open_page(file, f"#{link.fragment}")
    assert other.state()["frame"] == 5
    other.settle()
    for end in ("eye", "center"):
        assert other.state()["camera"][end] == pytest.approx(viewer.state()["camera"][end], abs=0.01)
    viewer.tab.keyboard.press("Escape")
    assert not viewer.tab.locator(".uv-share").is_visible()


FRAGMENTS = ["#view=1,2&time=x", "#view=a,b,c,d,e,f", "#time=-3", "#time=1e9&view=,,,,,", "#time=1&view=1,1,1,1,1,1"]


@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_link_that_is_none_changes_nothing_it_cannot(opened, fragment):
    view = opened.tab.evaluate(f"sharedView({{hash: '{fragment}'}})")
    assert view is None or (view["view"] is None and view["time_s"] is not None)


def test_time_is_told_to_whoever_keeps_it_too(viewer):
    viewer.tab.evaluate("""() => {
      window.told = [];
      unishViewers[0].element.addEventListener('unish:time', event => told.push(event.detail));
    }""")
    viewer.set(".uv-frame", 3)
    viewer.tab.locator(".uv-speed").select_option("2")
    viewer.tab.locator(".uv-play").click()
    viewer.tab.locator(".uv-play").click()
    told = viewer.tab.evaluate("told")
    assert {"time_s": pytest.approx(0.5), "playing": False, "speed": 1} in told
    assert any(each["playing"] and each["speed"] == 2 for each in told)
    viewer.tab.locator(".uv-speed").select_option("1")


def test_a_turn_is_recorded_as_a_video_that_plays(viewer, tmp_path):
    viewer.tab.set_viewport_size({"width": 360, "height": 480})  # it is drawn without a graphics card
    viewer.settle()
    before = viewer.state()["camera"]
    encoded = viewer.tab.evaluate("""async () => {
      const video = await recordTurntable(unishViewers[0], 1), reader = new FileReader();
      return new Promise(done => { reader.onload = () => done(reader.result); reader.readAsDataURL(video); });
    }""")
    kind, data = encoded.removeprefix("data:video/").split(";base64,")
    file = tmp_path / f"turn.{kind}"
    file.write_bytes(base64.b64decode(data))
    with av.open(str(file)) as video:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
    assert len(frames) >= 2 and max(np.abs(frame - frames[0]).mean() for frame in frames[1:]) > 1, "it turns"
    viewer.settle()
    assert viewer.state()["camera"]["eye"] == pytest.approx(before["eye"], abs=1e-2), "and comes back"
    viewer.tab.set_viewport_size({"width": 700, "height": 560})


def test_the_whole_screen_is_one_key_away(viewer):
    viewer.tab.keyboard.press("v")
    viewer.until("document.fullscreenElement === unishViewers[0].element", 10)
    viewer.until("document.querySelector('.uv-full').ariaLabel === 'Leave fullscreen'", 10)
    viewer.tab.keyboard.press("v")
    viewer.until("document.fullscreenElement === null", 10)


def test_a_phone_held_sideways_shows_scene_and_time(open_page, file):
    phone = open_page(file, viewport={"width": 844, "height": 390}, has_touch=True)
    stage, time = phone.tab.locator(".uv-stage").bounding_box(), phone.tab.locator(".uv-time").bounding_box()
    assert stage["height"] >= 200 and time["y"] + time["height"] <= 390
    tools = [tool.bounding_box() for tool in phone.tab.locator(".uv-tools button").all()]
    assert all(tool["y"] + tool["height"] <= stage["y"] + stage["height"] for tool in tools)
