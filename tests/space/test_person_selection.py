"""People on a clip's pictures: numbered, picked, removed and drawn by clicks."""

import dataclasses

import numpy as np
import pytest

from space.person_selection import DRAWN_FROM, Look, cornered, picture_of, toggled, wanted_people
from unish.errors import InputError
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
def look(clip) -> Look:
    """Two pictures, half as large as the frames; the second person is in the second one only."""
    return Look(
        source=("clip.mp4", 6.0, None, None),
        source_size=clip.source_size,
        pictures=np.full((2, HEIGHT // 2, WIDTH // 2, 3), 200, np.uint8),
        frames=(0, 5),
        times_s=(0.0, 5 / 6),
        tracks=(track(1, (80, 80, 320, 400)), track(2, (400, 80, 560, 400), present=(4, 5))),
        finder="mini",
        warnings=("a doubt",),
        chosen=(1, 2),
    )


def test_a_click_on_a_person_removes_and_picks_again(look):
    away = toggled(look, 0, 20, 30)
    assert away.chosen == (2,) and toggled(away, 0, 20, 30).chosen == (1, 2)
    assert toggled(look, 0, 60, 30).chosen == (1, 2), "the second person is not in this picture"
    assert toggled(look, 1, 60, 30).chosen == (1,)
    assert toggled(look, 0, 2, 2) == look


def test_of_boxes_that_overlap_the_smaller_is_meant(look):
    inside = dataclasses.replace(look, tracks=(*look.tracks, track(3, (160, 160, 240, 320))), chosen=(1, 2, 3))
    assert toggled(inside, 0, 25, 30).chosen == (1, 2)
    assert toggled(inside, 0, 12, 12).chosen == (2, 3)


def test_a_box_is_drawn_by_two_clicks_in_any_order(look):
    half = cornered(look, 1, 75, 55)
    assert half.corner == (75, 55) and half.drawn == ()
    whole = cornered(half, 1, 45, 5)
    (box,) = whole.drawn
    assert (box.x0, box.y0, box.x1, box.y1) == (45 * 8, 5 * 8, 75 * 8, 55 * 8) and box.time_s == look.times_s[1]
    assert whole.corner is None and whole.chosen == (1, 2, DRAWN_FROM)
    assert whole.choices() == [("Person 1", 1), ("Person 2", 2), ("Drawn 1", DRAWN_FROM)]
    assert toggled(whole, 1, 70, 50).chosen in ((1, 2), (1, DRAWN_FROM))
    with pytest.raises(InputError, match="too small"):
        cornered(half, 1, 74, 54)


def test_the_picture_shows_who_is_wanted_in_colour(look):
    def colours(shown: Look) -> set:
        return {tuple(color) for color in picture_of(shown, 0).reshape(-1, 3).tolist()}

    orange, grey = (240, 128, 60), (128, 128, 128)
    assert orange in colours(look) and grey not in colours(look)
    removed = dataclasses.replace(look, chosen=(2,))
    assert orange not in colours(removed) and grey in colours(removed)
    assert np.array_equal(look.pictures, np.full_like(look.pictures, 200)), "the pictures themselves stay clean"
    assert (picture_of(cornered(look, 0, 40, 30), 0) != picture_of(look, 0)).any()


def test_wanted_people_get_ids_from_one_in_the_clips_pixels(look, clip):
    people, finder, warnings = wanted_people(dataclasses.replace(look, chosen=(2,)), clip)
    assert [person.id for person in people] == [1] and finder == "mini" and warnings == ("a doubt",)
    np.testing.assert_allclose(people[0].boxes_px[0], [100, 20, 140, 100])
    drawn = cornered(cornered(look, 0, 10, 10), 0, 40, 50)
    people, finder, _ = wanted_people(drawn, clip)
    assert [person.id for person in people] == [1, 2, 3] and finder == "mini and box"
    np.testing.assert_allclose(people[2].boxes_px[0], [20, 20, 80, 100])
    people, finder, warnings = wanted_people(dataclasses.replace(drawn, chosen=(DRAWN_FROM,)), clip)
    assert len(people) == 1 and finder == "box" and warnings == ()
    with pytest.raises(InputError, match="Nobody is picked"):
        wanted_people(dataclasses.replace(drawn, chosen=()), clip)
