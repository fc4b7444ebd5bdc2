"""Values from anybody, taken for what they claim to be only after a look at them."""

from pathlib import Path

import pytest

from space.layout import LENSES
from space.limits import MAX_PEOPLE
from space.request import ClipRequest, Settings, parse_boxes, parse_formats
from unish.errors import InputError

CLIP = Path("clip.mp4")
OFFERED = {"own": "runs/stage3", "auto": "auto", "mini": "mini"}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, (0.0, None)),
        ("", "", (0.0, None)),
        (0, 2.5, (0.0, 2.5)),
        ("1.5", "1:30", (1.5, 90.0)),
        (" 2 s", "3s", (2.0, 3.0)),
    ],
)
def test_a_part_of_a_clip_may_be_numbers_or_what_people_type(start, end, expected):
    request = ClipRequest.of(CLIP, 6, start, end)
    assert (request.start_s, request.end_s) == expected


def test_the_lenses_on_offer_are_read_the_first_leaves_it_to_the_phone():
    names, values = zip(*LENSES, strict=True)
    focal = [Settings.of(OFFERED, "mini", value).priors((1080, 1920), recorded_focal_mm=30.0).focal for value in values]
    assert focal[0] == pytest.approx(30 / 21.63, rel=1e-3)
    assert focal[2] < focal[1] < focal[3] < focal[4] and len(set(names)) == len(LENSES)
    assert Settings.of(OFFERED, "mini", "").priors((1080, 1920)).focal is None


@pytest.mark.parametrize("fps", [1e308, -1, 0, float("nan"), float("inf"), 10**400, "6", None, [6], {}, True, 61, 0.01])
def test_a_rate_that_cannot_be_is_one_sentence(fps):
    with pytest.raises(InputError, match="Frames per second must be"):
        ClipRequest.of(CLIP, fps)


@pytest.mark.parametrize("moment", [-1, float("nan"), 10**400, "later", "-3", "1:2:3", "9" * 1500, [1], {"a": 1}, True])
def test_a_moment_that_cannot_be_is_one_sentence(moment):
    with pytest.raises(InputError, match="From must be"):
        ClipRequest.of(CLIP, 6, moment)
    with pytest.raises(InputError, match="To must be"):
        ClipRequest.of(CLIP, 6, 5, moment)


def test_the_end_comes_after_the_start():
    with pytest.raises(InputError, match="To must be later than From"):
        ClipRequest.of(CLIP, 6, 3, 3)


def test_settings_are_what_is_offered_and_may_be_left_out():
    settings = Settings.of(OFFERED, "own", None, None, None)
    assert settings.fit == "auto" and Settings.of(OFFERED, "own", fit=False).fit == "off"
    assert settings.weights == "runs/stage3" and settings.priors((640, 480)).heights_m == {}
    settings = Settings.of(OFFERED, "mini", " 26mm ", True, "1.75, 2=1.6")
    priors = settings.priors((640, 480))
    assert (
        priors.static_camera and priors.heights_m == {1: 1.75, 2: 1.6} and priors.focal == pytest.approx(1.2, abs=0.01)
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (("/etc",), "weights among own, auto, mini"),
        (("runs/stage3",), "weights among"),
        (([],), "weights among"),
        (({},), "weights among"),
        ((None,), "weights among"),
        (("mini", 26), "Focal length must be a text"),
        (("mini", "9" * 2001), "Focal length must have at most"),
        (("mini", "", "yes"), "tripod"),
        (("mini", "", False, {}), "Height must be a text"),
        (("mini", "", False, "", "off"), "fitting bodies"),
    ],
)
def test_settings_of_a_wrong_kind_are_one_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        Settings.of(OFFERED, *values)


def test_boxes_and_formats_are_bounded():
    assert [box.x0 for box in parse_boxes("1,2,3,4\n\n5,6,7,8@1.5")] == [1, 5]
    assert parse_formats("glb, ply,glb") == ("glb", "ply") and parse_formats(["bvh"]) == ("bvh",)
    assert parse_boxes(None) == () and parse_formats("") == ()
    with pytest.raises(InputError, match=f"At most {MAX_PEOPLE} people"):
        parse_boxes("0,0,9,9\n" * (MAX_PEOPLE + 1))
    for wrong in (7, ["1,2,3,4"], "banana"):
        with pytest.raises(InputError):
            parse_boxes(wrong)
    for wrong in (7, {"glb": 1}, "../evil", [["glb"]]):
        with pytest.raises(InputError):
            parse_formats(wrong)
