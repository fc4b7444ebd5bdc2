"""Who is in a clip is seen, and chosen, before anything is reconstructed: by pointer, by keyboard, by name."""

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def picking(long_visit):
    """A visitor who has added the clip, of which they take a second, and sees who is in it."""
    visitor = long_visit()
    visitor.shorten(1)
    visitor.add()
    return visitor


def at(visitor, x: float, y: float) -> tuple[float, float]:
    """A place at shares of the preview's width and height; the preview is in view and has come to rest."""
    frame = visitor.tab.locator(".pp-frame")
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def included(visitor) -> list[bool]:
    return [box.is_checked() for box in visitor.tab.locator(".pp-people input[type=checkbox]").all()]


WALKER = 0.27, 0.45  # where the walker of the bundled clip is in its first frame


def test_a_click_leaves_a_person_out_and_includes_them_again(picking):
    picking.tab.locator(".pp-time input").fill("0")
    assert picking.tab.locator(".pp-time output").inner_text() == "0.0 s"
    assert included(picking) == [True]
    for expected in (False, True):
        picking.tab.mouse.click(*at(picking, *WALKER))
        assert included(picking) == [expected]
        assert picking.tab.locator(".pp-boxes g").first.get_attribute("aria-checked") == str(expected).lower()


def test_a_box_is_dragged_and_seen_while_it_is(picking):
    picking.tab.mouse.move(*at(picking, 0.6, 0.2))
    picking.tab.mouse.down()
    picking.tab.mouse.move(*at(picking, 0.7, 0.5), steps=3)
    assert picking.tab.locator(".pp-new").count() == 1, "it grows under the pointer"
    picking.tab.mouse.move(*at(picking, 0.8, 0.9), steps=3)
    picking.tab.mouse.up()
    assert picking.tab.locator(".pp-new").count() == 0
    assert included(picking) == [True, True]
    assert picking.tab.locator(".pp-boxes g").count() == 2
    picking.tab.locator(".pp-people button").click()
    assert included(picking) == [True]
    picking.tab.mouse.move(*at(picking, 0.6, 0.2))
    picking.tab.mouse.down()
    picking.tab.mouse.move(*at(picking, 0.602, 0.4), steps=3)
    picking.tab.mouse.up()
    assert included(picking) == [True]
    assert "too small" in picking.tab.locator(".pp-said").inner_text()


def test_people_are_added_and_left_out_by_keyboard_alone(picking):
    tab = picking.tab
    tab.locator(".pp-add").focus()
    tab.keyboard.press("Enter")
    group = tab.locator(".pp-boxes g[data-person='2']")
    before = group.locator("rect").bounding_box()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Shift+ArrowUp")
    after = group.locator("rect").bounding_box()
    assert after["x"] > before["x"] and after["height"] < before["height"]
    tab.keyboard.press("Space")
    assert included(picking) == [True, False]
    tab.keyboard.press("Delete")
    assert included(picking) == [True] and tab.evaluate("document.activeElement.className") == "pp-add"
    tab.locator(".pp-people input[type=checkbox]").focus()
    tab.keyboard.press("Space")
    assert included(picking) == [False]
    assert tab.evaluate("document.activeElement.type") == "checkbox", "the focus stays where it was"
    tab.keyboard.press("Space")


def test_nobody_selected_is_said_and_a_name_is_carried_into_the_viewer(picking):
    tab = picking.tab
    tab.locator(".pp-people input[type=checkbox]").uncheck()
    tab.locator("#run").click()
    tab.locator("[data-testid=toast-body]").filter(has_text="No one is selected").wait_for()
    tab.locator("#cancel").wait_for(state="hidden")
    tab.locator(".pp-people input[type=checkbox]").check()
    tab.locator(".pp-people input[type=text]").fill("Ada <b>")
    tab.mouse.move(*at(picking, 0.75, 0.3))
    tab.mouse.down()
    tab.mouse.move(*at(picking, 0.95, 0.95), steps=3)
    tab.mouse.up()
    tab.locator("#run").click()
    tab.locator("#numbers").wait_for()
    assert tab.locator(".uv-people button").all_inner_texts() == ["Ada <b>", "Person 2"]
    assert "Ada <b>" in tab.locator("#numbers").inner_text()
