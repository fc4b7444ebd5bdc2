"""A scripted world: people are rectangles of one colour each, a detector and a segmenter that see colours."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from unish.errors import InputError
from unish.people.detect_and_segment import DetectAndSegment, PromptConfig, Segmenter, Segments
from unish.people.detection import PersonDetector
from unish.people.mask_tracks import MaskTrack, resolve_overlaps
from unish.people.tracking import Detections, FrameDetector
from unish.structures import PersonTrack
from unish.utils import disk_arrays as storage
from unish.utils.progress import no_progress

HEIGHT, WIDTH, COUNT = 120, 200, 31
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
Place = Callable[[int], tuple[int, int, int, int] | None]


def _world(places: dict[tuple[int, int, int], Place], count: int = COUNT) -> np.ndarray:
    """Later people stand in front of earlier ones; the top left pixel carries the frame's number."""
    frames = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    for index, frame in enumerate(frames):
        for color, place in places.items():
            if (box := place(index)) is not None:
                x0, y0, x1, y1 = np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
                frame[y0:y1, x0:x1] = color
        frame[0, 0] = (index, 77, 77)
    return frames


def _standing(x: int, when: range = range(COUNT), y: int = 20, width: int = 24, height: int = 60) -> Place:
    return lambda index: (x, y, x + width, y + height) if index in when else None


def _shown(frame: np.ndarray, color: tuple[int, ...]) -> np.ndarray:
    return (frame == color).all(axis=-1)


@dataclass
class ColorDetector:
    """Sees each colour with its score, or with what `script` says about a colour and a frame's number."""

    scores: dict[tuple[int, int, int], float]
    script: Callable[[tuple[int, int, int], int], float | None] = lambda color, index: None
    doubles: bool = False
    looked_at: list[int] = field(default_factory=list)

    def detect(self, frames: np.ndarray, progress=no_progress) -> tuple[Detections, ...]:
        return tuple(self._people(frame) for frame in frames)

    def _people(self, frame: np.ndarray) -> Detections:
        index = int(frame[0, 0, 0])
        self.looked_at.append(index)
        boxes, scores = [], []
        for color, usual in self.scores.items():
            shown = _shown(frame, color)
            said = self.script(color, index)
            score = usual if said is None else said
            if shown.any() and score > 0:
                rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
                box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], float)
                boxes += [box, box + np.array([0, 0, 0, 4])] if self.doubles else [box]
                scores += [score, score - 0.05] if self.doubles else [score]
        return Detections(np.array(boxes).reshape(-1, 4), np.array(scores, float))


@dataclass
class ColorSegmenter:
    """Follows the colour most seen in a box, at half the resolution; `confuses` may replace a colour for a frame."""

    score: Callable[[tuple[int, ...], int], float] = lambda color, index: 0.9
    confuses: Callable[[tuple[int, ...], int, int], tuple[int, ...] | None] = lambda color, start, index: color
    rows: list[tuple[int, int, int]] = field(default_factory=list)
    """Of each row of frames: the first, the last, and how many were followed."""

    def propagate(self, frames, boxes_px):
        colors, start, index = [], None, 0
        for frame in frames:
            index = int(frame[0, 0, 0])
            if start is None:
                start = index
                for x0, y0, x1, y1 in boxes_px.round().astype(int):
                    pixels, counts = np.unique(frame[y0:y1, x0:x1].reshape(-1, 3), axis=0, return_counts=True)
                    colors.append(tuple(pixels[counts.argmax()].tolist()))
            masks, scores = np.zeros((len(colors), HEIGHT // 2, WIDTH // 2), bool), np.zeros(len(colors))
            for number, color in enumerate(colors):
                taken = self.confuses(color, start, index)
                if taken is not None:
                    masks[number] = _shown(frame, taken)[::2, ::2]
                    scores[number] = self.score(color, index) * masks[number].any()
            yield Segments(masks, scores)
        self.rows.append((start, index, len(colors)))


def _found(
    frames: np.ndarray, *colors: tuple[int, int, int], segmenter: ColorSegmenter | None = None, **config
) -> tuple[PersonTrack, ...]:
    detector = ColorDetector(dict.fromkeys(colors, 0.9))
    return DetectAndSegment(detector, segmenter or ColorSegmenter(), PromptConfig(**config)).track(frames)


def _color_of(track: PersonTrack, frames: np.ndarray) -> list[tuple[int, ...] | None]:
    """The colour under a person's mask in each frame."""
    assert track.masks is not None
    under = [frames[index][::2, ::2][mask] for index, mask in enumerate(track.masks)]
    assert all(len(np.unique(pixels, axis=0)) <= 1 for pixels in under)
    return [tuple(pixels[0].tolist()) if len(pixels) else None for pixels in under]


def test_the_parts_fit_their_protocols():
    finder = DetectAndSegment(ColorDetector({}), ColorSegmenter())
    assert isinstance(finder, PersonDetector) and isinstance(finder.relaxed(), PersonDetector)
    assert isinstance(finder.detector, FrameDetector) and isinstance(finder.segmenter, Segmenter)


def test_someone_enters_late_and_someone_leaves_early():
    frames = _world({RED: _standing(20, range(0, 20)), GREEN: _standing(120, range(8, COUNT), height=80)})
    green, red = _found(frames, RED, GREEN)
    assert (green.id, red.id) == (1, 2)
    np.testing.assert_array_equal(green.present, np.arange(COUNT) >= 8)
    np.testing.assert_array_equal(red.present, np.arange(COUNT) < 20)
    np.testing.assert_allclose(green.confidence, np.where(green.present, 0.9, 0.0))
    np.testing.assert_allclose(green.boxes_px, np.tile([120.0, 20, 144, 100], (COUNT, 1)))
    assert green.masks is not None and green.masks.shape == (COUNT, HEIGHT // 2, WIDTH // 2)
    np.testing.assert_array_equal(green.masks[8], _shown(frames[8], GREEN)[::2, ::2])
    assert not green.masks[:8].any()


def test_someone_comes_back_as_the_same_person():
    away = range(9, 20)
    frames = _world({RED: lambda index: None if index in away else (20 + 3 * index, 20, 44 + 3 * index, 80)})
    (track,) = _found(frames, RED)
    np.testing.assert_array_equal(track.present, ~np.isin(np.arange(COUNT), away))
    # The boxes bridge the absence.
    np.testing.assert_allclose(track.boxes_px[:, 0], 20 + 3 * np.arange(COUNT), atol=1.01)


def test_someone_lost_on_the_way_is_followed_again_and_stays_one():
    """From the start the segmenter loses them at frame 15; from a later sighting it finds all the way back."""
    frames = _world({RED: lambda index: (20 + 3 * index, 20, 44 + 3 * index, 80 - index)})
    segmenter = ColorSegmenter(confuses=lambda color, start, index: None if start < 15 <= index else color)
    (track,) = _found(frames, RED, segmenter=segmenter)
    assert track.id == 1 and track.present.all()
    assert len({start for start, _, _ in segmenter.rows}) == 2


def test_people_who_cross_keep_their_colours():
    frames = _world(
        {
            RED: lambda index: (10 + 5 * index, 20, 34 + 5 * index, 90),
            GREEN: lambda index: (160 - 5 * index, 22, 184 - 5 * index, 92),
        }
    )
    tracks = _found(frames, RED, GREEN)
    assert len(tracks) == 2
    for track in tracks:
        (color,) = set(_color_of(track, frames)) - {None}
        assert color in (RED, GREEN) and track.present.all()
        steps = np.diff(track.boxes_px[:, [0, 2]].mean(1))
        assert (steps[:10] > 0).all() == (color == RED) and (steps[-10:] > 0).all() == (color == RED)


def test_someone_mistaken_for_another_is_found_again():
    """After the crossing the segmenter takes green for red; red keeps the pixels, green is followed anew."""
    frames = _world(
        {
            GREEN: lambda index: (160 - 4 * index, 22, 184 - 4 * index, 92 - index),
            RED: lambda index: (10 + 5 * index, 20, 34 + 5 * index, 90),
        }
    )
    segmenter = ColorSegmenter(
        confuses=lambda color, start, index: RED if color == GREEN and start < 16 <= index else color,
        score=lambda color, index: 0.95 if color == RED else 0.9,
    )
    tracks = _found(frames, RED, GREEN, segmenter=segmenter)
    assert len(tracks) == 2
    for track in tracks:
        assert len(set(_color_of(track, frames)) - {None}) == 1 and track.present.mean() > 0.9


@pytest.mark.parametrize(("lost", "filled"), [(2, True), (3, True), (4, False), (9, False)])
def test_short_gaps_are_filled_long_ones_stay(lost, filled):
    frames = _world({RED: lambda index: (20 + 3 * index, 20, 44 + 3 * index, 80)})
    gap = np.isin(np.arange(COUNT), range(13, 13 + lost))
    segmenter = ColorSegmenter(confuses=lambda color, start, index: None if gap[index] else color)
    (track,) = _found(frames, RED, segmenter=segmenter)
    np.testing.assert_array_equal(track.present, ~gap | filled)
    np.testing.assert_allclose(track.confidence, np.where(gap, 0.45 * filled, 0.9))
    np.testing.assert_allclose(track.boxes_px[:, 0], 20 + 3 * np.arange(COUNT), atol=1.01)
    assert track.masks is not None and not track.masks[gap].any()


def test_a_thing_taken_once_for_a_person_is_dropped():
    frames = _world({RED: _standing(20), BLUE: _standing(120, height=90)})
    detector = ColorDetector({RED: 0.8, BLUE: 0.9}, lambda color, index: 0.0 if color == BLUE and index != 12 else None)
    (track,) = DetectAndSegment(detector, ColorSegmenter()).track(frames)
    assert set(_color_of(track, frames)) == {RED}
    once = ColorDetector({RED: 0.8, BLUE: 0.9}, lambda color, index: 0.0 if color == BLUE and index > 12 else None)
    assert len(DetectAndSegment(once, ColorSegmenter()).track(frames)) == 2, "seen in half the keyframes"


def test_the_unsure_and_the_hardly_seen_are_dropped():
    places = {RED: _standing(20), GREEN: _standing(80, range(12, 14)), BLUE: _standing(140)}
    segmenter = ColorSegmenter(score=lambda color, index: 0.4 if color == BLUE else 0.9)
    (track,) = _found(_world(places), RED, GREEN, BLUE, segmenter=segmenter)
    assert track.boxes_px[0, 0] == 20


def test_a_flicker_takes_nobodys_place():
    places = {RED: _standing(20), GREEN: _standing(80, range(12, 14), height=90)}
    (track,) = _found(_world(places), RED, GREEN, max_people=1)
    assert track.boxes_px[0, 0] == 20


def test_a_detection_of_someone_half_hidden_is_explained():
    """The detector guesses the whole person, the mask is what a wall leaves to see of them."""
    wall = {(60, 60, 60): _standing(10, y=44, width=50, height=18), (70, 70, 70): _standing(10, y=62, width=50)}
    frames = _world({RED: _standing(20, height=24)} | wall)
    segmenter = ColorSegmenter()
    (track,) = DetectAndSegment(_FirstBox(), segmenter).track(frames)
    np.testing.assert_allclose(track.boxes_px[4], [20, 20, 44, 44])
    assert len(segmenter.rows) == 1


def test_a_doubtful_detection_starts_nobody_unless_the_look_is_less_strict():
    frames = _world({RED: _standing(20), GREEN: _standing(120)})
    finder = DetectAndSegment(ColorDetector({RED: 0.9, GREEN: 0.4}), ColorSegmenter())
    assert len(finder.track(frames)) == 1
    assert len(finder.relaxed().track(frames)) == 2


def test_two_boxes_of_one_person_are_one_person():
    frames = _world({RED: _standing(20), GREEN: _standing(120)})
    segmenter = ColorSegmenter()
    tracks = DetectAndSegment(ColorDetector({RED: 0.9, GREEN: 0.8}, doubles=True), segmenter).track(frames)
    assert sorted(track.boxes_px[0, 0] for track in tracks) == [20, 120]
    # Both are clear of each other, so they go together, and their second boxes are explained by them.
    assert sum(followed for _, _, followed in segmenter.rows) == 2


def test_two_followed_on_the_same_masks_become_one():
    """The detector puts a sure second box on a part of the person that the first mask does not explain."""
    frames = _world({RED: _standing(20, height=90)})

    class Halves(ColorDetector):
        def _people(self, frame: np.ndarray) -> Detections:
            whole = super()._people(frame)
            x0, y0, x1, y1 = whole.boxes_px[0]
            return Detections(np.array([[x0, y0, x1, y1], [x0, y0, x1, y0 + 30]]), np.array([0.9, 0.8]))

    segmenter = ColorSegmenter()
    (track,) = DetectAndSegment(Halves({RED: 0.9}), segmenter).track(frames)
    assert len(segmenter.rows) > 1 and track.present.all()


def test_no_more_people_than_asked_for():
    frames = _world({RED: _standing(20), GREEN: _standing(80, height=70), BLUE: _standing(140, height=80)})
    tracks = _found(frames, RED, GREEN, BLUE, max_people=2)
    assert [track.boxes_px[0, 0] for track in tracks] == [140, 80]


def test_everybody_is_followed_from_where_they_are_seen_best():
    """Red grows until frame 18 and is cut by the border afterwards, when it is largest."""

    def red(index: int) -> tuple[int, int, int, int]:
        return (60, 20, 84, 60 + 2 * index) if index <= 18 else (170, 0, 200, 120)

    segmenter = ColorSegmenter()
    _found(_world({RED: red}), RED, segmenter=segmenter)
    assert segmenter.rows == [(18, COUNT - 1, 1), (18, 0, 1)]


def test_of_sightings_alike_in_size_the_surest_is_best():
    detector = ColorDetector({RED: 0.8}, lambda color, index: 0.9 if index == 18 else None)
    segmenter = ColorSegmenter()
    DetectAndSegment(detector, segmenter).track(_world({RED: _standing(20)}))
    assert segmenter.rows[0][0] == 18


def test_those_seen_well_go_together_others_wait_for_a_better_frame():
    """All are in frame 12, where red is seen best; green is cut by the border there, blue is whole."""
    places = {
        RED: lambda index: (20, 20, 44, 110 if index == 12 else 80),
        GREEN: lambda index: (180 if index == 12 else 130, 20, 200 if index == 12 else 154, 80),
        BLUE: _standing(80, height=50),
    }
    segmenter = ColorSegmenter()
    _found(_world(places), RED, GREEN, BLUE, segmenter=segmenter)
    assert segmenter.rows == [(12, COUNT - 1, 2), (12, 0, 2), (0, COUNT - 1, 1)]


def test_who_is_left_with_little_of_a_mask_is_not_seen():
    def person(score: float, *columns: int) -> MaskTrack:
        track = MaskTrack((2, 20, 40, 3), (20, 40))
        for frame, end in enumerate(columns):
            mask = np.zeros((20, 40), bool)
            mask[5:15, 10:end] = True
            track.record(frame, mask, score)
        return track

    front, behind = person(0.9, 20, 20), person(0.7, 22, 24)
    resolve_overlaps([behind, front], PromptConfig())
    np.testing.assert_array_equal(behind.seen, [False, True])  # a sixth is left, and then two sevenths
    np.testing.assert_allclose(behind.boxes_px[1], [20, 5, 24, 15])
    assert front.seen.all() and front.masks.sum() == 200 and behind.masks.sum() == 40


def test_overlap_belongs_to_the_surer():
    class Boxy(ColorSegmenter):
        """Draws whole rectangles, also where somebody stands in front."""

        def propagate(self, frames, boxes_px):
            for segments in super().propagate(frames, boxes_px):
                masks = segments.masks.copy()
                for mask in masks:
                    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                    mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1 + 8] = True
                yield Segments(masks, segments.scores)

    frames = _world({RED: _standing(40), GREEN: _standing(60)})
    for surer in (RED, GREEN):
        segmenter = Boxy(score=lambda color, index, surer=surer: 0.95 if color == surer else 0.7)
        red, green = sorted(_found(frames, RED, GREEN, segmenter=segmenter), key=lambda track: track.boxes_px[0, 0])
        assert red.masks is not None and green.masks is not None
        assert not (red.masks & green.masks).any()
        assert red.boxes_px[5, 2] == (76 if surer == RED else 60)
        assert green.boxes_px[5, 0] == (76 if surer == RED else 60)


def test_the_detector_looks_at_keyframes_only():
    detector = ColorDetector({RED: 0.9})
    DetectAndSegment(detector, ColorSegmenter(), PromptConfig(keyframe_step=7)).track(_world({RED: _standing(20)}))
    assert detector.looked_at == [0, 7, 14, 21, 28, 30]
    with pytest.raises(InputError, match="every 0"):
        PromptConfig(keyframe_step=0)


def test_specks_do_not_widen_the_box():
    frames = _world({RED: _standing(20)})
    frames[:, 100:104, 190:194] = RED
    (track,) = DetectAndSegment(_FirstBox(), ColorSegmenter()).track(frames)
    np.testing.assert_allclose(track.boxes_px[3], [20, 20, 44, 80])
    assert track.masks is not None and track.masks[3, 51, 96]


class _FirstBox:
    """Sees the same box in every frame."""

    def detect(self, frames: np.ndarray, progress=no_progress) -> tuple[Detections, ...]:
        return tuple(Detections(np.array([[20.0, 20, 44, 80]]), np.array([0.9])) for _ in frames)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_nobody_and_short_clips(count):
    frames = _world({RED: _standing(20)}, count)
    assert DetectAndSegment(ColorDetector({GREEN: 0.9}), ColorSegmenter()).track(frames) == ()
    assert len(_found(frames, RED)) == min(count, 1)


def test_progress_rises_to_one_and_can_cancel():
    frames = _world({RED: _standing(20), GREEN: _standing(90, range(12, COUNT)), BLUE: _standing(140, range(0, 11))})
    shares: list[float] = []
    detector = ColorDetector(dict.fromkeys((RED, GREEN, BLUE), 0.9))
    DetectAndSegment(detector, ColorSegmenter()).track(frames, lambda share, message: shares.append(share))
    assert shares == sorted(shares) and shares[0] < 0.1 and shares[-1] == 1.0 and len(set(shares)) > COUNT

    def cancel(share: float, message: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DetectAndSegment(detector, ColorSegmenter()).track(frames, cancel)


def test_masks_of_long_clips_are_kept_on_disk(monkeypatch):
    frames = _world({RED: _standing(20)})
    (in_memory,) = _found(frames, RED)
    monkeypatch.setattr(storage, "IN_MEMORY_BYTES", 1000)
    (on_disk,) = _found(frames, RED)
    assert isinstance(on_disk.masks, np.memmap) and not isinstance(in_memory.masks, np.memmap)
    np.testing.assert_array_equal(on_disk.masks, in_memory.masks)
