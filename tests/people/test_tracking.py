import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unish.people.tracking import (
    Detections,
    TrackingConfig,
    box_iou,
    color_histogram,
    evidence,
    interpolated_boxes,
    track_people,
)

A, B = np.eye(2)


def _scripted(frames: list[dict[str, tuple[float, float]]], size=(40.0, 100.0), colors=None, score=0.9):
    """One `Detections` a frame from {name: centre}; the order in a frame is by name, reversed on odd frames."""
    result = []
    for number, people in enumerate(frames):
        names = sorted(people, reverse=bool(number % 2))
        centers = np.array([people[name] for name in names]).reshape(-1, 2)
        boxes = np.concatenate([centers - np.array(size) / 2, centers + np.array(size) / 2], axis=1)
        appearance = None if colors is None else np.array([colors[name] for name in names]).reshape(-1, 2)
        result.append(Detections(boxes, np.full(len(names), score), None, appearance))
    return result


def _centers(track) -> np.ndarray:
    return (track.boxes_px[:, :2] + track.boxes_px[:, 2:]) / 2


def test_two_people_side_by_side_keep_their_ids():
    frames = [{"a": (50 + 8 * t, 100), "b": (200 + 8 * t, 100)} for t in range(10)]
    first, second = sorted(track_people(_scripted(frames)), key=lambda track: track.boxes_px[0, 0])
    np.testing.assert_allclose(_centers(first)[:, 0], 50 + 8 * np.arange(10))
    np.testing.assert_allclose(_centers(second)[:, 0], 200 + 8 * np.arange(10))
    assert first.present.all() and second.present.all() and {first.id, second.id} == {1, 2}


@pytest.mark.parametrize("colored", [True, False])
def test_people_who_cross_keep_their_ids(colored):
    frames = [{"a": (50.0 + 20 * t, 100), "b": (250.0 - 20 * t, 104)} for t in range(11)]
    tracks = track_people(_scripted(frames, colors={"a": A, "b": B} if colored else None))
    assert len(tracks) == 2
    for track in tracks:
        steps = np.diff(_centers(track)[:, 0])
        assert (steps > 0).all() or (steps < 0).all()


def test_entering_late_and_leaving_early():
    frames = [
        {name: (x + 5 * t, 100) for name, x, when in (("a", 60, range(0, 8)), ("b", 300, range(4, 12))) if t in when}
        for t in range(12)
    ]
    tracks = {round(track.boxes_px[-1, 0]) > 200: track for track in track_people(_scripted(frames))}
    np.testing.assert_array_equal(tracks[False].present, np.arange(12) < 8)
    np.testing.assert_array_equal(tracks[True].present, np.arange(12) >= 4)
    assert (tracks[False].confidence[8:] == 0).all()
    # Boxes of absent frames carry the nearest sighting.
    np.testing.assert_allclose(tracks[True].boxes_px[:4], tracks[True].boxes_px[[4]].repeat(4, 0))


@pytest.mark.parametrize(("gap", "filled"), [(1, True), (3, True), (4, False), (8, False)])
def test_short_gaps_are_filled_long_ones_are_not(gap, filled):
    frames = [{"a": (50.0 + 6 * t, 100)} if not 5 <= t < 5 + gap else {} for t in range(20)]
    (track,) = track_people(_scripted(frames))
    assert track.present[5 : 5 + gap].all() == filled
    assert track.present.sum() == (20 if filled else 20 - gap)
    np.testing.assert_allclose(_centers(track)[:, 0], 50 + 6 * np.arange(20))
    assert (track.confidence[5 : 5 + gap] < 0.5).all()


def test_flickers_and_doubtful_detections_make_nobody():
    frames = [{"a": (100.0, 100)} | ({"ghost": (300.0, 100)} if t == 4 else {}) for t in range(10)]
    assert len(track_people(_scripted(frames))) == 1
    assert track_people(_scripted(frames, score=0.3)) == ()
    assert track_people([]) == () and track_people(_scripted([{}, {}])) == ()


def test_a_doubtful_detection_continues_a_known_person():
    detections = _scripted([{"a": (100.0 + t, 100)} for t in range(10)])
    detections[5] = Detections(detections[5].boxes_px, np.array([0.3]))
    (track,) = track_people(detections)
    assert track.present.all() and track.confidence[5] == 0.3


def test_doubtful_sightings_before_the_first_sure_one_belong_to_the_person():
    detections = _scripted([{"a": (100.0 + t, 100)} for t in range(8)])
    detections[:5] = [Detections(found.boxes_px, np.array([0.35])) for found in detections[:5]]
    (track,) = track_people(detections)
    assert track.present.all()


def test_ids_follow_prominence():
    near = _scripted([{"a": (300.0, 200)} for _ in range(6)], size=(100.0, 260.0))
    far = _scripted([{"b": (80.0, 200)} for _ in range(6)], size=(20.0, 50.0))
    both = [
        Detections(np.concatenate([f.boxes_px, n.boxes_px]), np.concatenate([f.scores, n.scores]))
        for f, n in zip(far, near, strict=True)
    ]
    tracks = track_people(both)
    assert [track.id for track in tracks] == [1, 2]
    assert tracks[0].boxes_px[0, 3] - tracks[0].boxes_px[0, 1] == 260


def test_masks_travel_with_the_person():
    detections = []
    for t in range(4):
        mask = np.zeros((1, 20, 30), bool)
        mask[0, 5:15, 2 + t : 8 + t] = True
        detections.append(Detections(np.array([[20.0 + 10 * t, 50, 80 + 10 * t, 150]]), np.array([0.9]), mask))
    (track,) = track_people(detections)
    assert track.masks is not None
    np.testing.assert_array_equal(track.masks, np.concatenate([found.masks for found in detections]))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(3, 12), st.integers(0, 2**31))
def test_no_detection_is_used_twice(people, count, seed):
    random = np.random.default_rng(seed)
    centers = random.uniform(0, 400, (people, 2)) + np.cumsum(random.normal(0, 10, (count, people, 2)), axis=0)
    frames = [{str(p): tuple(frame[p]) for p in range(people) if random.random() < 0.8} for frame in centers]
    detections = _scripted(frames)
    tracks = track_people(detections)
    assert [track.id for track in tracks] == list(range(1, len(tracks) + 1))
    for index, seen in enumerate(detections):
        used = [track.boxes_px[index] for track in tracks if track.confidence[index] == 0.9]
        rows = [tuple(box) for box in used]
        assert len(set(rows)) == len(rows) and set(rows) <= {tuple(box) for box in seen.boxes_px}
    for track in tracks:
        assert np.isfinite(track.boxes_px).all() and track.boxes_px.shape == (count, 4)


def test_overlap_of_boxes():
    boxes = np.array([[0.0, 0, 2, 2], [5, 5, 5, 9]])
    others = np.array([[1.0, 0, 3, 2], [0, 0, 2, 2]])
    np.testing.assert_allclose(box_iou(boxes, others), [[1 / 3, 1], [0, 0]])


def test_bridged_boxes_are_straight_lines():
    boxes = interpolated_boxes(np.array([[0.0, 0, 10, 10], [8, 4, 18, 14]]), np.array([1, 5]), 7)
    np.testing.assert_allclose(boxes[3], [4, 2, 14, 12])
    np.testing.assert_allclose(boxes[[0, 6]], [[0, 0, 10, 10], [8, 4, 18, 14]])


def test_color_histograms_tell_people_apart():
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:, :30], frame[:, 30:] = (200, 30, 30), (30, 30, 200)
    red, same, blue = (
        color_histogram(frame, np.array(b, float)) for b in ([2, 2, 20, 38], [10, 5, 28, 30], [32, 2, 50, 38])
    )
    assert red @ same == pytest.approx(1.0, abs=1e-3) and red @ blue < 0.05


def _with_second_box(detections, frames, shift, score=0.5):
    """The same person found a second time in these frames, `shift` pixels beside the first box."""
    for frame in frames:
        single = detections[frame]
        boxes = np.concatenate([single.boxes_px, single.boxes_px[:1] + shift])
        detections[frame] = Detections(boxes, np.append(single.scores, score))
    return detections


def test_two_tracks_on_one_body_are_one_person():
    detections = _scripted([{"a": (50.0 + 6 * t, 100)} for t in range(16)])
    assert len(track_people(_with_second_box(list(detections), range(4, 16), [9, 0, 9, 0]))) == 1
    # Half a body apart is somebody else.
    assert len(track_people(_with_second_box(list(detections), range(4, 16), [24, 0, 24, 0]))) == 2


def test_a_duplicate_goes_on_where_the_first_track_ends():
    """The body's box changes its size at once, from standing to crouching: one id all the same."""
    detections = _scripted([{"a": (100.0, 100)} for _ in range(10)])
    detections += _scripted([{"a": (100.0, 112)} for _ in range(10)], size=(40.0, 76.0))
    (track,) = track_people(_with_second_box(detections, range(7, 10), [0, 24, 0, 0]))
    assert track.present.all()


def test_what_is_seen_now_and_then_or_jumps_is_nobody():
    frames, box = np.arange(12), np.array([100.0, 50, 140, 150])
    walking = box + 5.0 * frames[:, None] * [1, 0, 1, 0]
    jumping = box + 40.0 * (frames[:, None] % 2) * [1, 0, 1, 0]
    scores = np.full(12, 0.4)
    assert evidence(walking, frames, scores) == pytest.approx(0.4)
    assert evidence(walking, 3 * frames, scores) < 0.25
    assert evidence(jumping, frames, scores) < 0.15
    detections = [Detections(b[None], np.array([0.5 if k == 4 else 0.36])) for k, b in enumerate(walking)]
    assert len(track_people(detections)) == 1
    detections = [Detections(b[None], d.scores) for b, d in zip(jumping, detections, strict=True)]
    assert track_people(detections, TrackingConfig()) == ()


@pytest.mark.parametrize("hidden", [2, 4, 6])
@pytest.mark.parametrize("colored", [True, False])
def test_a_person_hidden_while_crossing_comes_back_as_the_same(hidden, colored):
    """b walks behind a, who walks the other way, and is unseen for some frames in the middle."""
    middle = range(10 - hidden // 2, 10 - hidden // 2 + hidden)
    frames = [{"a": (60.0 + 14 * t, 100)} | ({} if t in middle else {"b": (340.0 - 14 * t, 104)}) for t in range(20)]
    tracks = track_people(_scripted(frames, colors={"a": A, "b": B} if colored else None))
    assert len(tracks) == 2
    for track in tracks:
        steps = np.diff(_centers(track)[track.present, 0])
        assert (steps > 0).all() or (steps < 0).all()


def test_few_frames_per_second_leave_time_to_walk_far():
    """A person 40 x 80 pixels large walks 70 pixels a frame: 1.2 of its sides, too far in a sixth of a second."""
    frames = [{"a": (50.0 + 70 * t, 100)} for t in range(8)]
    assert track_people(_scripted(frames, size=(40.0, 80.0)), TrackingConfig().at_step(1 / 6)) == ()
    (track,) = track_people(_scripted(frames, size=(40.0, 80.0)), TrackingConfig().at_step(1.0))
    assert track.present.all()


def test_no_boxes_are_made_up_over_more_than_a_second():
    frames = [{} if t == 5 else {"a": (100.0, 100)} for t in range(12)]
    for step_s, filled in ((1 / 6, True), (0.5, True), (1.0, False)):
        (track,) = track_people(_scripted(frames), TrackingConfig().at_step(step_s))
        assert track.present[5] == filled, step_s
