"""Following, measuring, cropping, colouring, pictures and keys, read from the page's state and from its pixels."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tests.viewer.test_page import MAX_POINTS, RESET, Opened, changed
from tests.viewer.test_page import open_page as open_page
from unish.viewer import scene_arrays, write_html
from unish.viewer.surfaces import Surfaces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tools_file(room, tmp_path_factory):
    return write_html(
        room(12, names=("Ada", "Bob")), tmp_path_factory.mktemp("tools") / "a.html", max_points=MAX_POINTS
    )


@pytest.fixture(scope="module")
def both(open_page, tools_file):
    return {"direct": open_page(tools_file), "public": open_page(tools_file, "?fallback=1")}


@pytest.fixture(params=["direct", "public"])
def viewer(request, both) -> Opened:
    """Both ways of drawing in turn, every control where it starts: for what the way of drawing could change."""
    return started_again(both[request.param])


@pytest.fixture
def direct(both) -> Opened:
    return started_again(both["direct"])


def started_again(opened: Opened) -> Opened:
    opened.tab.evaluate(RESET)
    opened.tab.evaluate("""() => {
      const v = unishViewers[0], first = {'.uv-scene-mode': 'both', '.uv-color': 'photo', '.uv-follow': 'free'};
      v.measure.toggle(false);
      for (const [name, value] of Object.entries(first)) {
        v.find(name).value = value;
        v.find(name).dispatchEvent(new Event('change', {bubbles: true}));
      }
    }""")
    opened.settle()
    return opened


def choose(viewer: Opened, control: str, value: str) -> None:
    viewer.tab.locator(control).select_option(value)


def test_the_clips_own_camera_is_followed_until_the_view_is_turned(viewer):
    free = viewer.state()["camera"]
    choose(viewer, ".uv-follow", "clip")
    assert viewer.state()["follow"] == "clip"
    viewer.set(".uv-frame", 0)
    first = viewer.state()["camera"]["eye"]
    viewer.set(".uv-frame", 9)
    last = viewer.state()["camera"]["eye"]
    corners = viewer.tab.evaluate("[0, 9].map(f => unishViewers[0].scene.place(unishViewers[0].scene.corners(f)[0]))")
    for eye, center in ((first, corners[0]), (last, corners[1])):
        assert eye == pytest.approx(center, abs=0.03)
    assert first != last and first != free["eye"]
    viewer.drag()
    assert viewer.state()["follow"] == "free"


def test_a_person_is_followed_from_behind(viewer):
    choose(viewer, ".uv-follow", "person 0")
    eyes = []
    for frame in (0, 8):
        viewer.set(".uv-frame", frame)
        eyes.append(viewer.state()["camera"]["eye"])
    assert eyes[0] != eyes[1]


@pytest.mark.parametrize("style", ["surface", "points"])
def test_what_is_drawn_of_the_scene_and_of_a_frame(direct, style):
    choose(direct, ".uv-style", style)
    drawn, pictures = {}, {}
    for mode in ("both", "frame", "whole"):
        choose(direct, ".uv-scene-mode", mode)
        drawn[mode], pictures[mode] = direct.state()["drawnPoints"], direct.pixels()
    assert drawn["both"] == drawn["frame"] + drawn["whole"] and min(drawn.values()) > 1000
    assert changed(pictures["frame"], pictures["whole"]) > 0.01


def test_through_the_clips_camera_it_is_the_video(direct, room):
    """People, depth edges and all; turned away from it, people are no longer part of the surface."""
    direct.press("points")
    direct.press("camera")
    choose(direct, ".uv-follow", "clip")
    direct.set(".uv-frame", 6)
    direct.press("people")
    direct.settle()
    seen = direct.pixels()
    height, width = seen.shape[:2]
    clip = room(12, names=("Ada", "Bob")).images[6].astype(np.int16)
    scale = 0.5 * height / np.tan(0.5 * direct.state()["fov"]) / (0.9 * 128)  # pixels of the view a pixel of the clip
    rows, columns = np.mgrid[60 : height - 50 : 3, 70 : width - 70 : 3]
    i, j = (rows + 0.5 - height / 2) / scale + 48, (columns + 0.5 - width / 2) / scale + 64
    inside = (i > 1) & (i < 95) & (j > 1) & (j < 127)
    expected = clip[i[inside].astype(int), j[inside].astype(int)]
    apart = np.abs(seen[rows[inside], columns[inside]] - expected).max(-1)
    assert np.mean(apart < 30) > 0.9 and np.median(apart) < 8
    direct.press("people")
    choose(direct, ".uv-follow", "free")
    direct.tab.evaluate("unishViewers[0].resetView()")
    direct.settle()
    with_people = direct.pixels()
    direct.press("points")
    assert changed(with_people, direct.pixels()) < 0.001


def test_the_page_reads_the_surfaces_that_were_written(direct, room):
    """Vertices in metres, and cells that people touch apart from the scene's."""
    scene = scene_arrays(room(12, names=("Ada", "Bob")), MAX_POINTS)
    surfaces = Surfaces.of(room(12, names=("Ada", "Bob")))
    place, kept, people = direct.tab.evaluate("""() => {
      const data = unishViewers[0].data, built = data.build(6);
      const {triangles: {length}, sceneCount} = built;
      return [data.positions(built).map(axis => [...axis]), length / 6, length - sceneCount];
    }""")
    reconstruction = room(12, names=("Ada", "Bob"))
    points = surfaces.points_camera(6, reconstruction.cameras.intrinsics[6].astype(np.float64))
    pose = reconstruction.cameras.world_from_camera[6]
    turn = np.array(scene.meta["display_from_world"])
    points = (points @ pose[:3, :3].T + pose[:3, 3]) @ turn.T
    cells = surfaces.cells[6]
    corners = np.zeros(points.shape[:2], bool)
    for down in (0, 1):
        for right in (0, 1):
            corners[down : down + cells.shape[0], right : right + cells.shape[1]] |= cells
    np.testing.assert_allclose(np.array(place).T, points[corners], atol=4e-3)
    assert kept == cells.sum() and people == 6 * (cells.sum() - surfaces.scene_cells(6).sum())


def test_a_crop_box_leaves_fewer_points_and_takes_them_from_the_picture(viewer):
    viewer.tab.locator(".uv-crop").click()
    before, picture = viewer.state()["drawnPoints"], viewer.pixels()
    viewer.tab.evaluate("""() => {
      const edge = unishViewers[0].find('[data-axis="0"][data-end="high"]');
      edge.value = (Number(edge.min) + Number(edge.max)) / 2;
      edge.dispatchEvent(new Event('input', {bubbles: true}));
    }""")
    assert 0 < viewer.state()["drawnPoints"] < 0.9 * before
    assert changed(picture, viewer.pixels()) > 0.02
    viewer.tab.evaluate("""() => {
      const edge = unishViewers[0].find('[data-axis="0"][data-end="high"]');
      edge.value = edge.max;
      edge.dispatchEvent(new Event('input', {bubbles: true}));
    }""")
    viewer.tab.locator(".uv-crop").click()
    assert viewer.state()["drawnPoints"] == before


@pytest.mark.parametrize("color", ["confidence", "person", "distance"])
def test_colours_say_what_is_asked(direct, color):
    direct.press("points")
    picture = direct.pixels()
    choose(direct, ".uv-color", color)
    assert changed(picture, direct.pixels()) > 0.002
    choose(direct, ".uv-color", "photo")
    assert changed(picture, direct.pixels()) < 0.002


@pytest.mark.parametrize("color", ["person", "distance"])
def test_colours_of_people_show_their_points_and_leave_the_scene_in_its_own(direct, color):
    """Only people's points have a person: where they are hidden, a choice would do nothing but grey out the scene."""
    assert not direct.state()["layers"]["points"]
    direct.press("people")
    direct.press("camera")
    before = direct.pixels()
    choose(direct, ".uv-color", color)
    assert direct.state()["layers"]["points"]
    assert direct.tab.locator("[data-layer=points]").get_attribute("aria-pressed") == "true"
    after = direct.pixels()
    assert (np.ptp(after, axis=-1) > 120).mean() > 0.002, "somebody is to be seen in a strong colour"
    scene = (np.ptp(before, axis=-1) > 25) & (np.abs(after - before).max(-1) < 60)
    assert (np.ptp(after, axis=-1)[scene] > 10).mean() > 0.8, "the walls keep a tint"


def test_by_person_everybody_is_in_their_colour_and_the_scene_paled_from_the_side_too(direct):
    for layer in ("camera", "skeleton", "paths"):
        direct.press(layer)
    direct.tab.evaluate("unishViewers[0].turn(0.6, 0)")
    seen = {}
    for color in ("photo", "person"):
        choose(direct, ".uv-color", color)
        seen[color] = np.ptp(direct.pixels(), axis=-1)
    bodies = (seen["photo"] > 80) & (seen["photo"] < 230)  # above that is what hides the names
    assert bodies.mean() > 0.005 and np.median(seen["person"][bodies] / seen["photo"][bodies]) > 1.1
    walls = (seen["photo"] > 25) & (seen["photo"] < 70) & (seen["person"] < 70)
    assert walls.mean() > 0.1 and 0.3 < np.median(seen["person"][walls] / seen["photo"][walls]) < 0.8


def test_what_stands_before_a_person_fades_towards_them(direct):
    """Seen from behind the wall that they walk along: through it at the person, not far away, in part between."""
    direct.tab.evaluate("""() => {
      const v = unishViewers[0], [x, y, z] = v.scene.pelvis(0, v.frame), place = point => v.scene.place(point);
      v.look({eye: place([x, y + 5, z + 0.4]), center: place([x, y, z])});
    }""")
    direct.settle()
    faded = direct.pixels()
    direct.tab.evaluate("unishViewers[0].layers.surface.focus = []")
    whole = direct.pixels()
    direct.tab.evaluate("unishViewers[0].layers.surface.crop = {low: [-9, -9, -9], high: [9, 4.5, 9]}")
    gone = direct.pixels()
    apart = np.linalg.norm(whole - gone, axis=-1)
    wall = apart > 60
    kept = ((faded - gone) * (whole - gone)).sum(-1)[wall] / apart[wall] ** 2
    assert (kept < 0.1).mean() > 0.02 and (kept > 0.9).mean() > 0.2
    assert ((kept > 0.2) & (kept < 0.8)).mean() > 0.05, "along a wide border, not a line"


@pytest.mark.parametrize("layer", ["skeleton", "paths"])
def test_bones_and_ways_can_be_switched(viewer, layer):
    viewer.set(".uv-frame", 8)
    picture = viewer.pixels()
    viewer.press(layer)
    assert viewer.state()["layers"][layer] is False
    if layer == "paths":  # all joints of the room's ellipsoids lie in one point
        assert changed(picture, viewer.pixels()) > 0.0002


def test_a_measured_length_is_the_known_one(viewer):
    """Two vertices of a body are clicked where they are drawn."""
    for layer in ("scene", "camera"):
        viewer.press(layer)
    viewer.tab.locator(".uv-measure").click()
    ends = viewer.tab.evaluate("""() => {
      const v = unishViewers[0], body = v.scene.body(0, v.frame), view = v.view(), box = v.plot.getBoundingClientRect();
      const points = Array.from(body[0], (_, i) => body.map(axis => axis[i]));
      const high = points.reduce((a, b) => (b[2] > a[2] ? b : a)), low = points.reduce((a, b) => (b[2] < a[2] ? b : a));
      return [high, low].map(p => { const [x, y] = view.screen(p); return [...p, x + box.x, y + box.y]; });
    }""")
    true = float(np.linalg.norm(np.subtract(ends[0][:3], ends[1][:3])))
    for end in ends:
        viewer.tab.mouse.click(end[3], end[4])
    assert viewer.state()["measured"] == pytest.approx(true, rel=0.06)
    viewer.until("!unishViewers[0].find('.uv-length').hidden")  # drawn with the next picture
    assert viewer.tab.locator(".uv-length").inner_text() == f"{viewer.state()['measured']:.2f} m"
    assert "between the two points" in viewer.tab.locator(".uv-announce").inner_text()
    viewer.tab.keyboard.press("Escape")
    assert viewer.state()["measured"] is None
    viewer.tab.locator(".uv-measure").click()


def test_measuring_needs_no_mouse(direct):
    """Arrows move a crosshair to where a finger taps, Enter sets the point: both measure the same, and say so."""
    tab = direct.tab
    for layer in ("scene", "camera"):
        direct.press(layer)
    tab.locator(".uv-measure").press("Enter")
    assert tab.evaluate("document.activeElement.matches('.unish-viewer')"), "the arrows are the crosshair's"
    assert "arrow keys" in tab.locator(".uv-announce").inner_text() and tab.locator(".uv-todo").is_visible()
    frame = direct.state()["frame"]
    ends = tab.evaluate("""() => {
      const v = unishViewers[0], body = v.scene.body(0, v.frame), view = v.view();
      const points = Array.from(body[0], (_, i) => body.map(axis => axis[i]));
      const high = points.reduce((a, b) => (b[2] > a[2] ? b : a)), low = points.reduce((a, b) => (b[2] < a[2] ? b : a));
      return [high, low].map(p => view.screen(p).slice(0, 2));
    }""")
    tab.keyboard.press("Enter")  # the crosshair appears
    for right, down in ends:
        for _ in range(200):
            x, y = tab.evaluate(
                "(({crosshair: [x, y]}, {offsetWidth: w, offsetHeight: h}) => [x * w, y * h])"
                "(unishViewers[0].measure, unishViewers[0].plot)"
            )
            if abs(x - right) <= 2 and abs(y - down) <= 2:
                break
            axis, apart = max(((0, right - x), (1, down - y)), key=lambda each: abs(each[1]))
            key = ("ArrowRight" if apart > 0 else "ArrowLeft", "ArrowDown" if apart > 0 else "ArrowUp")[axis]
            tab.keyboard.press(key if abs(apart) > 14 else f"Shift+{key}")
        else:
            pytest.fail("the crosshair does not reach the point")
        tab.keyboard.press("Enter")
    by_keys = direct.state()["measured"]
    assert f"{by_keys:.2f} m between the two points" in tab.locator(".uv-announce").inner_text()
    assert direct.state()["frame"] == frame, "no arrow was the time's"
    tab.keyboard.press("Escape")
    for right, down in ends:
        tab.evaluate(
            """([x, y]) => {
              const {plot} = unishViewers[0], box = plot.getBoundingClientRect();
              const at = {clientX: box.x + x, clientY: box.y + y};
              for (const [name, jitter] of [['pointerdown', 0], ['pointermove', 6], ['pointerup', 6]]) {
                const options = {...at, clientX: at.clientX + jitter, pointerType: 'touch', bubbles: true};
                plot.dispatchEvent(new PointerEvent(name, options));
              }
            }""",
            [right, down],
        )
    assert direct.state()["measured"] == pytest.approx(by_keys, rel=0.1)
    tab.keyboard.press("Escape")
    tab.keyboard.press("Escape")
    assert tab.locator(".uv-measure").get_attribute("aria-pressed") == "false"
    assert tab.locator(".uv-todo").is_hidden()


def test_a_saved_picture_has_the_cloud_in_it(viewer, tmp_path):
    def saved() -> np.ndarray:
        with viewer.tab.expect_download() as waiting:
            viewer.tab.locator(".uv-shot").click()
        assert waiting.value.suggested_filename.endswith("s.png")
        waiting.value.save_as(tmp_path / "picture.png")
        return np.asarray(Image.open(io.BytesIO((tmp_path / "picture.png").read_bytes())).convert("RGB"), np.int16)

    full = saved()
    viewer.press("scene")
    assert changed(full, saved()) > 0.05
    assert full.std() > 10


def test_keys(direct):
    direct.tab.locator(".unish-viewer").focus()
    press = direct.tab.keyboard.press
    press("ArrowRight")
    assert direct.state()["frame"] == 1
    press("Shift+ArrowRight")
    assert direct.state()["frame"] == 11
    press("2")
    assert direct.state()["people"] == [True, False]
    press("2")
    press("f")
    assert direct.state()["follow"] == "clip"
    press("Home")
    assert direct.state()["follow"] == "free"
    press("m")
    assert direct.tab.locator(".uv-measure").get_attribute("aria-pressed") == "true"
    press("m")
    press("?")
    assert direct.tab.locator(".uv-help").is_visible()
    press("?")
    press("Space")
    assert direct.state()["playing"]
    press("Space")


def test_every_control_has_a_name_and_nothing_is_wrong(direct):
    nameless = direct.tab.evaluate("""() => [...document.querySelectorAll('.unish-viewer :is(button, input, select)')]
      .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.title)).map(e => e.className)""")
    assert nameless == []
    assert direct.errors == []
    assert [url for url in direct.requests if not url.startswith(("file:", "blob:", "data:"))] == []


def test_a_phone_keeps_most_of_its_height_for_the_scene(open_page, tools_file):
    opened = open_page(tools_file, viewport={"width": 390, "height": 844}, has_touch=True)
    stage = opened.tab.locator(".uv-stage").bounding_box()
    assert stage["height"] >= 0.7 * 844
    assert opened.tab.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")
    opened.tab.locator(".uv-more > summary").click()
    opened.settle()
    assert opened.tab.locator(".uv-stage").bounding_box()["height"] >= 0.54 * 844
    rows = [opened.tab.locator(part).bounding_box() for part in (".uv-time", ".uv-layers", ".uv-more")]
    for above, below in pairwise(rows):
        assert below["y"] >= above["y"] + above["height"], "rows of controls overlap"


def test_the_clips_camera_sees_what_the_clip_saw(both, room):
    """Through the clip's own camera the people's meshes cover the pixels that they cover in the frame."""
    direct = both["direct"]
    direct.tab.evaluate(RESET)
    choose(direct, ".uv-follow", "clip")
    for layer in ("scene", "skeleton"):  # bones are seen through bodies that are nearly gone
        direct.press(layer)
    direct.set(".uv-frame", 6)
    direct.settle()
    seen = direct.pixels()
    height, width = seen.shape[:2]
    scale = 0.5 * height / np.tan(0.5 * direct.state()["fov"]) / (0.9 * 128)  # pixels of the view a pixel of the clip
    mask = room(12, names=("Ada", "Bob")).person_mask[6] > 0
    rows, columns = np.mgrid[:height, :width]
    i = np.floor((rows + 0.5 - height / 2) / scale + 48).astype(int)
    j = np.floor((columns + 0.5 - width / 2) / scale + 64).astype(int)
    inside = (i >= 0) & (i < 96) & (j >= 0) & (j < 128) & (rows > 70) & (rows < height - 50)  # where nothing floats
    expected = np.zeros((height, width), bool)
    expected[inside] = mask[i[inside], j[inside]]
    body = np.ptp(seen, axis=-1) > 25  # people are the only thing in colour
    overlap = (body & expected & inside).sum() / ((body | expected) & inside).sum()
    assert overlap > 0.9
    choose(direct, ".uv-follow", "free")


def test_projecting_is_what_the_scene_draws_with(both):
    """Our own projection of a point is that of Plotly's matrices."""
    direct = both["direct"]
    direct.tab.evaluate(RESET)
    direct.settle()
    direct.pixels()  # Plotly's matrices are those of the picture drawn last
    ours, theirs = direct.tab.evaluate("""() => {
      const v = unishViewers[0], p = v.scene.body(0, 0).map(axis => axis[100]), {scene} = v.layers;
      const {model, view, projection} = scene.glplot.cameraParams;
      const times = (m, a) => [0, 1, 2, 3].map(r => [0, 1, 2, 3].reduce((sum, c) => sum + m[4 * c + r] * a[c], 0));
      const clip = times(projection, times(view, times(model, [...p.map((x, i) => x * scene.dataScale[i]), 1])));
      const {offsetWidth: w, offsetHeight: h} = v.plot;
      return [v.view().screen(p).slice(0, 2), [0.5 * w * (1 + clip[0] / clip[3]), 0.5 * h * (1 - clip[1] / clip[3])]];
    }""")
    assert ours == pytest.approx(theirs, abs=0.5)


def test_the_frames_picture_stands_on_the_cameras_image_plane(both):
    direct = both["direct"]
    direct.tab.evaluate(RESET)
    for layer in ("scene", "people"):
        direct.press(layer)
    picture = direct.pixels()
    direct.press("picture")
    assert changed(picture, direct.pixels()) > 0.001
    assert not both["public"].tab.locator("[data-layer=picture]").is_visible()


def test_a_followed_view_is_kept_while_playing_and_on_changing_options(direct):
    choose(direct, ".uv-follow", "person 1")
    direct.tab.locator(".uv-play").click()
    direct.until("unishViewers[0].frame >= 3")
    direct.tab.locator(".uv-play").click()
    direct.set(".uv-size", 2)
    direct.settle()
    state = direct.state()
    behind = direct.tab.evaluate("unishViewers[0].follow.behind(1).camera.eye")
    assert state["follow"] == "person 1" and state["camera"]["eye"] == pytest.approx(behind, abs=0.02)


def test_hovering_while_a_scene_loads_is_no_error(direct):
    """gl-plot3d asks each object whether it was picked, ours too."""
    assert direct.tab.evaluate("unishViewers[0].layers.scene.glplot.objects.every(o => typeof o.pick === 'function')")
    box = direct.tab.locator(".uv-plot").bounding_box()
    direct.tab.evaluate("{ unishViewers[0].load({buffer: unishViewers[0].buffer}); }")
    for step in range(300):
        direct.tab.mouse.move(box["x"] + box["width"] * (0.3 + 0.4 * (step % 7) / 7), box["y"] + 0.5 * box["height"])
        if step > 50 and direct.state()["ready"]:
            break
    direct.until("unishViewers[0].state.ready")
    assert direct.errors == []
