"""benchmarks/real_people.py: how it counts, and that it runs on a folder of clips."""

import json

import numpy as np
import pytest

from benchmarks.real_people import BenchmarkConfig, Score, run, score_clip, table
from tests.conftest import REPOSITORY
from train.data.prepare.teachers import Consensus
from unish.errors import InputError
from unish.structures import PersonTrack

FIRST, SECOND, FAR = [10.0, 10, 40, 90], [60.0, 10, 90, 90], [100.0, 40, 104, 50]


def _truth(*people) -> Consensus:
    boxes = np.array([box for box, _ in people]).reshape(-1, 4)
    agreed = np.array([sure for _, sure in people], bool)
    return Consensus(boxes, np.ones(len(boxes)), agreed, np.zeros((len(boxes), 17, 3)))


def _track(number: int, boxes) -> PersonTrack:
    present = np.array([box is not None for box in boxes])
    boxes_px = np.array([FIRST if box is None else box for box in boxes])
    return PersonTrack(number, boxes_px, present, present.astype(float), None)


def test_found_missed_false_and_uncertain():
    truths = {0: _truth((FIRST, True), (SECOND, True), (FAR, True)), 1: _truth((FIRST, True), (SECOND, False))}
    nowhere = [200.0, 10, 230, 90]
    tracks = (_track(1, [FIRST, FIRST]), _track(2, [None, SECOND]), _track(3, [nowhere, None]))
    score, verdicts = score_clip(truths, tracks, height=100)
    assert score == Score(frames=2, people=3, found=2, missed=1, false=1, persons=2, ids=2)
    assert verdicts == {0: ["found", "false"], 1: ["found", "uncertain"]}


def test_a_second_box_on_one_person_is_false():
    score, _ = score_clip({0: _truth((FIRST, True))}, (_track(1, [FIRST]), _track(2, [FIRST])), height=100)
    assert (score.found, score.false) == (1, 1)


def test_a_person_whose_id_changes_has_two():
    truths = {frame: _truth((FIRST, True), (SECOND, True)) for frame in range(4)}
    tracks = (_track(1, [FIRST, FIRST, None, None]), _track(2, [None, None, FIRST, FIRST]), _track(3, [SECOND] * 4))
    score, _ = score_clip(truths, tracks, height=100)
    assert (score.persons, score.ids, score.shared) == (2, 3, 0)


def test_an_id_that_jumps_to_somebody_else_is_shared():
    truths = {frame: _truth((FIRST, True), (SECOND, True)) for frame in range(4)}
    score, _ = score_clip(truths, (_track(1, [FIRST, FIRST, SECOND, SECOND]),), height=100)
    assert (score.persons, score.ids, score.shared) == (2, 2, 1)


def test_a_person_who_walks_on_unseen_for_a_while_stays_one():
    walk = [[10.0 + 25 * t, 10, 40 + 25 * t, 90] for t in range(4)]
    truths = {0: _truth((walk[0], True)), 1: _truth((walk[1], False)), 2: _truth(), 3: _truth((walk[3], True))}
    score, _ = score_clip(truths, (_track(7, walk),), height=100)
    assert (score.persons, score.ids) == (1, 1)


def test_hand_drawn_boxes_score_the_sample_clip(tmp_path):
    """The bundled clip's first frame, with a box where nobody is: the benchmark runs from video to table."""
    truth = tmp_path / "boxes.json"
    truth.write_text(json.dumps({"sample_clip.mp4": {"0": [[0, 0, 30, 200]]}}))
    config = BenchmarkConfig(
        clips=REPOSITORY / "unish" / "assets" / "sample_clip.mp4",
        truth=truth,
        max_frames=3,
        images=tmp_path / "images",
    )
    scores = run(config)
    assert scores["total"] == scores["sample_clip"]
    assert scores["total"].frames == 1 and scores["total"].missed == 1
    assert (tmp_path / "images" / "sample_clip_00000.jpg").is_file()
    assert "| sample_clip | 1 | 1 | 0 | 1 |" in table(scores)


def test_truth_comes_from_one_side(tmp_path):
    with pytest.raises(InputError, match="--teachers or --truth"):
        run(BenchmarkConfig(clips=tmp_path))
    with pytest.raises(InputError, match="found none"):
        run(BenchmarkConfig(clips=tmp_path, teachers=("transformers",)))
    (tmp_path / "boxes.json").write_text("{}")
    clip = REPOSITORY / "unish" / "assets" / "sample_clip.mp4"
    with pytest.raises(InputError, match=r"sample_clip\.mp4"):
        run(BenchmarkConfig(clips=clip, truth=tmp_path / "boxes.json", max_frames=2))
