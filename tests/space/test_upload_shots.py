"""Videos with cuts and with black bars on the page: a choice of shots, and the image between the bars."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from space import callbacks, upload_pipeline
from space.layout import choice
from space.request import ClipRequest
from space.results import ResultFolders
from space.upload_reader import read_shots, read_upload
from tests.helpers.videos import write_video
from unish.errors import InputError
from unish.people.detection import DetectedPeople
from unish.structures import PersonTrack

FPS = 6


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A shot of one second and one of two, between bars of a quarter of the height, 128×128."""
    random = np.random.default_rng(3)
    frames = np.zeros((18, 128, 128, 3), np.uint8)
    for first, last in ((0, 6), (6, 18)):
        coarse = random.integers(60, 255, (8, 16, 3), np.uint8)
        frames[first:last, 32:96] = coarse.repeat(8, 0).repeat(8, 1)
    folder = tmp_path_factory.mktemp("uploads") / ("0" * 64)
    folder.mkdir()
    return write_video(folder / "film.mp4", frames, rate=FPS)


def test_the_longest_shot_is_read_and_another_where_it_is_asked_for(film):
    request = ClipRequest.of(film, FPS)
    clip, shots = read_shots(request)
    assert [(shot.number, shot.stop - shot.start) for shot in shots] == [(1, 6), (2, 12)]
    assert len(clip) == 12 and "only the longest was used, shot 2" in " ".join(clip.warnings)
    first = read_upload(request.with_shot("1"))
    assert len(first) == 6 and first.times_s[0] == 0
    with pytest.raises(InputError, match="Expected a shot from 1 to 2"):
        read_upload(request.with_shot("3"))
    for wrong in ("last", "-1", 2.5, ["1"], "1" * 9):
        with pytest.raises(InputError, match="Shot"):
            request.with_shot(wrong)


def test_bars_are_left_out_and_said(film):
    clip = read_upload(ClipRequest.of(film, FPS))
    assert clip.frame_size == (128, 64) and clip.content_px == pytest.approx((0, 32, 128, 96), abs=2)
    assert "Black bars" in " ".join(clip.warnings)


def test_the_page_offers_the_shots_and_shows_the_one_that_is_chosen(film, monkeypatch):
    def somebody(clip, task):
        boxes = np.tile([10.0, 10, 40, 60], (len(clip), 1))
        return DetectedPeople((PersonTrack(1, boxes, np.ones(len(clip), bool), np.ones(len(clip))),), "mini")

    monkeypatch.setattr(upload_pipeline, "detect_on_gpu", somebody)
    demo = callbacks.Demo({"mini": "mini"}, ResultFolders.beside(film.parent.parent), callbacks.Examples([]))
    visitor = SimpleNamespace(session_hash="a")
    *_, (seen, _, shot, picked, note) = demo.preview({"path": str(film)}, FPS, "", "", None, visitor, None)
    assert [value for _, value in shot.choices] == ["longest", "1", "2"] and shot.value == "longest" and shot.visible
    assert "only the longest was used" in note.value and len(picked["preview"]["frames"]) == 12
    assert picked["preview"]["people"][0]["boxes"][0] == pytest.approx([10, 42, 40, 92], abs=2), "in the source"
    *_, (seen, _, shot, picked, _) = demo.preview_shot("1", seen, visitor, None)
    assert shot.value == "1" and len(picked["preview"]["frames"]) == 6
    assert not list(demo.preview({"path": str(film)}, FPS, "", "", seen, visitor, None)), "nothing else has changed"
    asked = []
    monkeypatch.setattr(callbacks, "reconstruct_upload", lambda part, *rest: asked.append(part))
    monkeypatch.setattr(callbacks, "result_updates", lambda *shown: [])
    list(demo.run({"path": str(film)}, FPS, "", "", "mini", "", False, "", False, seen, picked, visitor, None))
    assert asked == [dataclasses.replace(seen.request, shot=1)]
    *_, (_, _, _, _, note) = demo.preview_shot("7", seen, visitor, None)
    assert "Expected a shot from 1 to 2" in note.value


def test_a_choice_that_is_no_text_is_refused_in_our_words(film):
    value = choice([("First", "1")], value="1").preprocess("caf\udce9")
    with pytest.raises(InputError, match="Shot must be a number") as refused:
        ClipRequest.of(film).with_shot(value)
    assert str(refused.value).encode()
