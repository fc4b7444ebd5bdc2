"""People in a clip's preview: numbered, left out, marked by boxes, named."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from space.limits import MAX_PEOPLE
from space.person_selection import (
    PREVIEW_FRAMES,
    ClipPreview,
    PeopleSelection,
    picker_value,
    preview_clip,
    selected_people,
)
from space.request import ClipRequest
from unish.errors import InputError
from unish.people.detection import DetectedPeople
from unish.structures import Clip, PersonTrack

FRAMES, HEIGHT, WIDTH = 6, 120, 160


def track(person: int, box, present=range(FRAMES)) -> PersonTrack:
    here = np.isin(np.arange(FRAMES), list(present))
    return PersonTrack(person, np.tile(np.array(box, float), (FRAMES, 1)), here, here.astype(float))


@pytest.fixture
def clip() -> Clip:
    """Its source is four times as large as its frames."""
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    return Clip(frames, np.arange(FRAMES) / 6, 6.0, "clip.mp4", (4 * WIDTH, 4 * HEIGHT))


@pytest.fixture
def preview(clip, tmp_path) -> ClipPreview:
    """The second person is in the last frames only."""
    people = DetectedPeople(
        (track(1, (20, 20, 80, 100)), track(2, (100, 20, 140, 100), present=(4, 5))), "mini", ("a doubt",)
    )
    return preview_clip(clip, ClipRequest(tmp_path / "clip.mp4", 6.0), tmp_path, lambda clip: people)


def sent(chosen=(1, 2), added=(), names=None) -> dict:
    """As the picker sends it."""
    return {"preview": {}, "selection": {"chosen": list(chosen), "added": list(added), "names": names or {}}}


def box(person: int, corners, time_s=0.0) -> dict:
    return {"id": person, "box": list(corners), "time_s": time_s}


def test_the_picker_is_told_in_pixels_of_the_source(preview):
    value = picker_value(preview)["preview"]
    assert value["content"] == [0, 0, 640, 480] and len(value["frames"]) == FRAMES <= PREVIEW_FRAMES
    assert value["times_s"][-1] == pytest.approx(5 / 6)
    first, second = value["people"]
    assert first["boxes"][0] == [80, 80, 320, 400] and second["boxes"] == [None] * 4 + [[400, 80, 560, 400]] * 2
    assert value["first_added"] == 3 and set(value["colors"]) == {str(person) for person in range(1, MAX_PEOPLE + 3)}
    assert Image.open(preview.files[0]).size == (WIDTH, HEIGHT)


def test_between_bars_too_boxes_are_those_of_the_source(clip, tmp_path):
    """A quarter of the source's height is bars: 480 lines of 640, in frames of 120."""
    barred = dataclasses.replace(clip, source_size=(640, 640), content_box=(0, 0.125, 1, 0.875))
    people = DetectedPeople((track(1, (20, 20, 80, 100)),), "mini")
    preview = preview_clip(barred, ClipRequest(tmp_path / "clip.mp4", 6.0), tmp_path, lambda clip: people)
    value = picker_value(preview)["preview"]
    assert value["content"] == [0, 80, 640, 560] and value["people"][0]["boxes"][0] == [80, 160, 320, 480]
    selection = PeopleSelection.of(sent([1], [box(2, (40, 120, 160, 280))]), preview)
    chosen, added = selected_people(preview, selection, barred).tracks
    np.testing.assert_allclose(chosen.boxes_px[0], [20, 20, 80, 100])
    np.testing.assert_allclose(added.boxes_px[0], [10, 10, 40, 50])


def test_previews_have_names_that_nobody_can_guess(preview, clip, tmp_path):
    other = preview_clip(clip, preview.request, tmp_path, lambda clip: preview.people)
    assert other.files[0].parent != preview.files[0].parent and len(preview.files[0].parent.name) > 30


def test_everybody_is_wanted_until_something_is_said(preview, clip):
    selection = PeopleSelection.of({"preview": {}, "selection": None}, preview)
    people = selected_people(preview, selection, clip)
    assert [person.id for person in people.tracks] == [1, 2]
    assert people.finder == "mini" and people.warnings == ("a doubt",)
    np.testing.assert_allclose(people.tracks[0].boxes_px[0], [20, 20, 80, 100])


def test_who_is_left_out_is_gone_and_the_others_keep_their_numbers(preview, clip):
    people = selected_people(preview, PeopleSelection.of(sent(chosen=[2]), preview), clip)
    assert [person.id for person in people.tracks] == [2]


def test_a_box_is_a_new_person_with_the_number_and_name_that_the_page_shows(preview, clip):
    selection = PeopleSelection.of(
        sent([1], [box(4, (40, 40, 160, 200), 5 / 6)], {"4": " Ada ", "1": "B" * 99}), preview
    )
    people = selected_people(preview, selection, clip)
    assert [person.id for person in people.tracks] == [1, 4] and people.finder == "mini and box"
    np.testing.assert_allclose(people.tracks[1].boxes_px[5], [10, 10, 40, 50])
    assert selection.names == {4: "Ada", 1: "B" * 40}
    alone = selected_people(preview, PeopleSelection.of(sent([], [box(3, (40, 40, 160, 200))]), preview), clip)
    assert alone.finder == "box" and alone.warnings == ()


def test_nobody_and_too_many_are_said(preview):
    with pytest.raises(InputError, match="No one is selected"):
        PeopleSelection.of(sent([]), preview)
    nobody = dataclasses.replace(preview, people=DetectedPeople((), "mini"))
    with pytest.raises(InputError, match="No people found"):
        PeopleSelection.of({"selection": None}, nobody)
    crowd = [box(3 + k, (40, 40, 160, 200)) for k in range(MAX_PEOPLE)]
    with pytest.raises(InputError, match=f"At most {MAX_PEOPLE}"):
        PeopleSelection.of(sent([1], crowd), preview)
    many = DetectedPeople(tuple(track(k, (20, 20, 80, 100)) for k in range(1, MAX_PEOPLE + 4)), "mini")
    selection = PeopleSelection.of(None, dataclasses.replace(preview, people=many))
    assert selection.chosen == tuple(range(1, MAX_PEOPLE + 1)), "the most prominent, at first"


@pytest.mark.parametrize(
    "selection",
    [
        7,
        {},
        {"chosen": 1, "added": [], "names": {}},
        {"chosen": [[]], "added": [], "names": {}},
        {"chosen": ["x"], "added": [], "names": {}},
        {"chosen": [1], "added": [7], "names": {}},
        {"chosen": [1], "added": [{"id": 3, "box": [1, 2, 3], "time_s": 0}], "names": {}},
        {"chosen": [1], "added": [{"id": 3, "box": [1, 2, 3, {}], "time_s": 0}], "names": {}},
        {"chosen": [1], "added": [{"id": 1, "box": [1, 2, 30, 40], "time_s": 0}], "names": {}},
        {"chosen": [1], "added": [], "names": {"a": "b"}},
        {"chosen": [1], "added": [], "names": {"1": 7}},
        {"chosen": [1], "added": [], "names": [1]},
        {"chosen": [float("inf")], "added": [], "names": {}},
    ],
)
def test_what_no_picker_sends_is_one_sentence(preview, selection):
    with pytest.raises(InputError):
        PeopleSelection.of({"selection": selection}, preview)


@pytest.mark.parametrize(
    "corners", [(float("nan"), 0, 9, 9), (0, 0, float("inf"), 9), (900, 0, 990, 90), (50, 50, 40, 90)]
)
def test_boxes_off_the_image_are_one_sentence(preview, clip, corners):
    selection = PeopleSelection.of(sent([1], [box(3, corners)]), preview)
    try:
        selected_people(preview, selection, clip)
    except InputError as error:
        assert "box" in str(error)
    else:
        assert corners[2] == float("inf"), "only a box that reaches beyond the frame is cut to it"
