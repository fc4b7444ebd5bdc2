"""What a stranger sees before anything is asked of them: a finished result that plays, on any screen, legibly."""

from pathlib import Path

import gradio
import pytest

from space.examples import BUNDLED, Example
from tests.app.conftest import Visit

pytestmark = pytest.mark.slow
EXAMPLES = [example.name for example in Example.found_in(BUNDLED)]
READY = "#viewer [data-ready=true]"

# What stood in the viewer's stage whenever the page was painted: words, and whether there was an image; and whether the
# scene introduced itself, which ends by itself where it is drawn slowly.
WATCH = """
window.arrival = [];
window.introduced = false;
(function look() {
  const find = name => document.querySelector(`#viewer .uv-${name}`), words = find('message');
  const poster = find("poster");
  if (words && words.offsetParent) window.arrival.push([words.textContent, poster.naturalWidth > 0 && !poster.hidden]);
  const viewer = typeof unishViewers === 'undefined' ? undefined : unishViewers[0];
  if (viewer) window.introduced ||= viewer.opening.running && viewer.playing;
  requestAnimationFrame(look);
})();
"""
CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def arrived(app, browser):
    """Opens the bare address as somebody with a certain screen."""
    contexts = []

    def open_page(width: int = 1280, height: int = 800, query: str = "", **options) -> Visit:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        visitor = Visit(contexts[-1].new_page())
        visitor.tab.set_default_timeout(120_000)
        visitor.tab.on("pageerror", lambda error: visitor.errors.append(str(error)))
        visitor.tab.add_init_script(WATCH)
        visitor.tab.goto(app.url + query)
        return visitor

    yield open_page
    for context in contexts:
        context.close()


def pressed(visitor) -> list[str]:
    return visitor.tab.locator("#gallery [aria-pressed=true]").evaluate_all("all => all.map(one => one.dataset.name)")


def test_the_queue_speaks_in_words(app, browser):
    """Gradio's own element, as its script writes it, needs a full queue: here only its words are put in."""
    source = next((Path(gradio.__file__).parent / "templates/frontend/assets").glob("statustracker-*.js"))
    assert all(words in source.read_text(encoding="utf-8") for words in ("meta-text", "`queue: ${", "`processing |`"))
    tab = browser.new_page(reduced_motion="reduce")
    tab.goto(app.url)
    tab.locator("#clip").wait_for(timeout=120_000)
    tab.evaluate("""() => {
        const status = document.createElement('div');
        status.id = 'status';
        status.className = 'meta-text';
        status.append('queue: 3/4 |', '1.5s');
        document.body.append(status);
    }""")
    tab.wait_for_function("document.getElementById('status').textContent === '2 ahead of you · 1.5s'")
    for theirs, ours in (("queue: 1/4 |", "You are next · 1.5s"), ("processing |", "Working · 1.5s")):
        tab.evaluate("words => document.getElementById('status').firstChild.data = words", theirs)
        tab.wait_for_function("ours => document.getElementById('status').textContent === ours", arg=ours)
    tab.close()


def test_a_finished_result_plays_until_it_is_touched_and_others_are_a_click_away(arrived):
    visitor = arrived(500, 400)  # small: it is drawn without a graphics card
    tab = visitor.tab
    tab.locator(READY).wait_for()
    words, images = zip(*tab.evaluate("arrival"), strict=True)
    assert set(words) == {"Loading scene…"}, "never an empty box"
    assert sum(images) > 0.5 * len(images), "a frame of its clip until the scene is there"
    tab.wait_for_function("introduced")
    tab.locator(".uv-plot").dispatch_event("pointerdown")
    assert not visitor.state()["opening"]
    tab.evaluate("unishViewers[0].pause()")
    assert pressed(visitor) == EXAMPLES[:1]
    assert {link.get_attribute("href") for link in tab.locator("#introduction a").all()} >= {
        "https://arxiv.org/abs/2601.01222"
    }
    assert "?" not in tab.url
    tab.emulate_media(reduced_motion="reduce")
    loads = tab.evaluate("unishViewers[0].loads")
    tab.locator("#gallery button").nth(1).click()
    tab.wait_for_function(f"location.search === '?example={EXAMPLES[1]}'")
    tab.wait_for_function(f"unishViewers[0].loads > {loads} && unishViewers[0].state.ready")
    assert pressed(visitor) == EXAMPLES[1:2] and not visitor.state()["opening"]
    tab.reload()
    tab.locator(READY).wait_for()
    assert pressed(visitor) == EXAMPLES[1:2]
    tab.locator("#gallery .eg-use").click()
    tab.locator(".pp-people input").first.wait_for()
    assert visitor.errors == []


@pytest.fixture(scope="module")
def phone(arrived) -> Visit:
    visitor = arrived(390, 844, has_touch=True, is_mobile=True, reduced_motion="reduce")
    visitor.tab.locator(READY).wait_for()
    return visitor


def box(visitor, selector: str) -> dict[str, float]:
    return visitor.tab.locator(selector).first.bounding_box()


def test_on_a_phone_the_scene_comes_first_then_the_video_then_the_rest(phone):
    phone.tab.evaluate("window.scrollTo(0, 0)")
    scene, video, files = box(phone, "#viewer"), box(phone, "#clip"), box(phone, "#page")
    phone.tab.locator(".video-companion[data-mode=below] video[src]").wait_for()
    assert scene["y"] < box(phone, "#overlay")["y"] < box(phone, "#clip")["y"], "its video stands below the scene"
    assert scene["y"] + scene["height"] <= 844 and scene["y"] < 200, "all of it without scrolling"
    assert scene["y"] + scene["height"] <= video["y"] < files["y"]
    canvas = box(phone, "#viewer canvas")
    assert canvas["width"] > 300 and canvas["height"] > 200, "and it is drawn"
    assert phone.tab.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth")


def test_what_is_dropped_where_is_said_in_the_pages_own_words(phone):
    """Gradio's words are still in the page; its styles show others, for fingers here."""
    words = phone.tab.locator("#clip [data-testid=upload-text]")
    size, content = words.evaluate("one => [getComputedStyle(one).fontSize, getComputedStyle(one, '::after').content]")
    assert size == "0px" and content == '"Tap to choose or record a video"'
    assert not words.locator(".or").is_visible()


def test_on_a_phone_held_sideways_the_scene_fits(phone):
    phone.tab.set_viewport_size({"width": 844, "height": 390})
    try:
        phone.tab.locator("#viewer").scroll_into_view_if_needed()
        phone.tab.wait_for_timeout(500)
        scene = box(phone, "#viewer .unish-viewer")
        assert scene["height"] <= 390 and scene["width"] > 700
        assert box(phone, "#viewer .uv-stage")["height"] >= 200
    finally:
        phone.tab.set_viewport_size({"width": 390, "height": 844})


def test_on_a_phone_the_button_stays_in_reach_of_the_scene(phone):
    phone.add()
    phone.tab.locator("#viewer").scroll_into_view_if_needed()
    for selector in ("#run", "#viewer .uv-stage", "#viewer .uv-play"):
        place = box(phone, selector)
        assert place["y"] >= 0 and place["y"] + place["height"] <= 844, selector


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(arrived, scheme):
    visitor = arrived(color_scheme=scheme, reduced_motion="reduce")
    visitor.tab.locator(READY).wait_for()
    visitor.add()
    visitor.tab.locator("#options button").first.click()
    visitor.tab.locator("#exports button").first.click()
    visitor.tab.locator("#archive").wait_for()
    visitor.tab.locator(".video-companion[data-mode=below] video[src]").wait_for()  # its files are there already
    visitor.tab.wait_for_timeout(500)
    assert visitor.tab.evaluate(CONTRAST) == []


def test_in_another_page_the_viewer_stands_alone(arrived):
    visitor = arrived(query=f"/?example={EXAMPLES[1]}&embed=1", reduced_motion="reduce")
    visitor.tab.locator(READY).wait_for()
    assert box(visitor, "#viewer .unish-viewer")["height"] == pytest.approx(800, abs=2)
    hidden = ("#introduction", "#form", "#gallery", "footer", "#numbers")
    assert [name for name in hidden if visitor.tab.locator(name).first.is_visible()] == []
