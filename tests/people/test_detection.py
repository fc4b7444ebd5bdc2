import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from unish.errors import InputError, MissingAssetError, MissingDependencyError
from unish.people import detection as people_module
from unish.people import hf_models as pretrained
from unish.people.detect_and_segment import DetectAndSegment
from unish.people.detect_and_track import DetectAndTrack
from unish.people.detection import Box, BoxPrompts, MaskPrompts, detect_people
from unish.people.tracking import Detections, box_iou
from unish.structures import Clip, PersonTrack
from unish.utils.progress import no_progress
from unish.video.reader import read_clip


def _clip(frames: np.ndarray, fps: float = 6.0, source_size: tuple[int, int] | None = None) -> Clip:
    return Clip(
        frames=frames,
        times_s=np.arange(len(frames)) / fps,
        fps=fps,
        source_name="made",
        source_size=source_size or (frames.shape[2], frames.shape[1]),
        source_frames=tuple(range(0, 5 * len(frames), 5)),
    )


@pytest.fixture(scope="module")
def moving_square(textured_image) -> tuple[np.ndarray, np.ndarray]:
    """A textured upright rectangle that wanders over a textured, slowly panning background, growing by a third."""
    random = np.random.default_rng(3)
    coarse = random.integers(0, 255, (9, 4, 3))
    count, frames, boxes = 14, [], []
    for index in range(count):
        background = np.roll(textured_image, 2 * index, axis=1)
        scale = 1 + index / count / 3
        width, height = round(36 * scale), round(81 * scale)
        patch = cv2.resize(coarse.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        x, y = round(40 + 13 * index), round(70 + 25 * np.sin(index / 3))
        background[y : y + height, x : x + width] = patch
        frames.append(background)
        boxes.append((x, y, x + width, y + height))
    return np.stack(frames), np.array(boxes, float)


@pytest.mark.parametrize("start", [0, 6, 13])
def test_a_drawn_box_is_followed_both_ways(moving_square, start):
    frames, boxes = moving_square
    found = detect_people(_clip(frames), boxes=[Box(*boxes[start], time_s=start / 6)])
    (track,) = found.tracks
    assert found.finder == "box" and track.id == 1
    assert track.present.all() and (track.confidence > 0).all()
    overlap = np.diag(box_iou(track.boxes_px, boxes))
    assert overlap.min() > 0.5 and overlap.mean() > 0.7
    np.testing.assert_allclose(track.boxes_px[start], boxes[start])
    assert track.masks is not None and track.masks.shape[0] == len(frames)


def test_boxes_are_in_source_pixels(moving_square):
    frames, boxes = moving_square
    doubled = _clip(frames, source_size=(640, 480))
    (track,) = detect_people(doubled, boxes=[Box(*(2 * boxes[0]))]).tracks
    np.testing.assert_allclose(track.boxes_px[0], boxes[0])


def test_two_boxes_are_two_people(moving_square):
    frames, boxes = moving_square
    people = detect_people(_clip(frames[:3]), boxes=[Box(200, 20, 230, 90), Box(*boxes[0])]).tracks
    assert [person.id for person in people] == [1, 2]
    np.testing.assert_allclose(people[1].boxes_px[0], boxes[0])


def test_somebody_who_is_gone_is_not_present(moving_square, textured_image):
    frames, boxes = moving_square
    frames = frames[:8].copy()
    frames[5:] = 128  # the lights go out
    (track,) = detect_people(_clip(frames), boxes=[Box(*boxes[0])]).tracks
    assert track.present[:5].all() and not track.present[5:].any()
    assert np.isfinite(track.boxes_px).all()


class _Scripted:
    """A detector that sees the given boxes."""

    def __init__(self, boxes: np.ndarray) -> None:
        self.boxes = boxes

    def detect(self, frames: np.ndarray, progress=no_progress) -> tuple[Detections, ...]:
        return tuple(Detections(box[None], np.array([0.9])) for box in self.boxes)


def test_a_detection_under_the_box_is_preferred(moving_square):
    frames, boxes = moving_square
    detected = boxes + np.array([-3.0, -4, 2, 5])
    finder = BoxPrompts((tuple(boxes[0]),), (0,), _Scripted(detected))
    (track,) = finder.track(frames)
    np.testing.assert_allclose(track.boxes_px[1:], detected[1:], atol=1e-6)


def test_the_finder_links_detections(moving_square):
    frames, boxes = moving_square
    (track,) = DetectAndTrack(_Scripted(boxes)).track(frames)
    np.testing.assert_allclose(track.boxes_px, boxes)
    found = detect_people(_clip(frames), finder=DetectAndTrack(_Scripted(boxes)))
    assert found.finder == "mini" and "bundled" in found.warnings[0]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (Box(400, 10, 500, 90), "inside the 320×240 image"),
        (Box(-90, 10, -10, 90), "inside the 320×240 image"),
        (Box(318, 10, 400, 90), "inside the 320×240 image"),
        (Box(50, 10, 50, 90), "x0 < x1"),
        (Box(50, 90, 80, 10), "x0 < x1"),
        (Box(50, 10, float("nan"), 90), "x0 < x1"),
        (Box(50, 10, 80, 90, time_s=9.0), "time of a box"),
        (Box(50, 10, 80, 90, time_s=float("nan")), "time of a box"),
    ],
)
def test_boxes_that_make_no_sense(moving_square, box, message):
    with pytest.raises(InputError, match=message):
        detect_people(_clip(moving_square[0][:3]), boxes=[box])


def test_a_box_that_reaches_over_the_edge_is_cut(moving_square):
    (track,) = detect_people(_clip(moving_square[0][:2]), boxes=[Box(-20, 30, 60, 300)]).tracks
    np.testing.assert_allclose(track.boxes_px[0], [0, 30, 60, 240])


def _label(index: int) -> np.ndarray:
    label = np.zeros((120, 160), np.uint8)
    label[20:80, 10 + 3 * index : 30 + 3 * index] = 7
    if index >= 2:
        label[50:100, 90:110] = 3
    return label


def _frames(count: int = 4) -> np.ndarray:
    return np.zeros((count, 240, 320, 3), np.uint8)


@pytest.mark.parametrize("kind", ["sampled", "numbered", "palette"])
def test_masks_become_people(tmp_path, kind):
    for index in range(4 if kind != "numbered" else 18):
        image = Image.fromarray(_label(index if kind != "numbered" else index // 5))
        if kind == "palette":
            image.putpalette([0, 0, 0, *([200, 10, 90] * 8)])
        image.save(tmp_path / f"{index:05d}.png")
    found = detect_people(_clip(_frames()), masks=str(tmp_path))
    assert found.finder == "masks" and [track.id for track in found.tracks] == [3, 7]
    late, always = found.tracks
    np.testing.assert_array_equal(late.present, [False, False, True, True])
    np.testing.assert_allclose(late.boxes_px, np.tile([180.0, 100, 220, 200], (4, 1)))
    np.testing.assert_allclose(always.boxes_px[:, 0], 20 + 6 * np.arange(4))
    assert always.masks is not None
    np.testing.assert_array_equal(always.masks[1], _label(1) == 7)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "found none"),
        ("count", "Expected 4 masks"),
        ("colour", "one number per pixel"),
        ("shape", "clip's shape"),
        ("sizes", "another size"),
        ("empty", "all are 0"),
        ("text", "cannot be read"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, kind, message):
    folder = tmp_path / ("nowhere" if kind == "missing" else ".")
    for index in range(2 if kind == "count" else 4):
        label = _label(index) * (kind != "empty")
        if kind == "colour":
            label = np.stack([label] * 3, axis=-1)
        if kind == "shape":
            label = label[:60]
        if kind == "sizes" and index == 2:
            label = label[::2, ::2]
        Image.fromarray(label).save(tmp_path / f"{index}.png")
    if kind == "text":
        (tmp_path / "2.png").write_text("not a picture")
    with pytest.raises(InputError, match=message):
        MaskPrompts(folder).track(_frames())


def test_boxes_and_masks_together_are_refused(tmp_path):
    with pytest.raises(InputError, match="only one"):
        detect_people(_clip(_frames()), boxes=[Box(0, 0, 50, 50)], masks=tmp_path)


# ---------------------------------------------------------------- how many, and who


def _track(number: int, height: float) -> PersonTrack:
    return PersonTrack(number, np.tile([10.0, 10, 20, 10 + height], (4, 1)), np.ones(4, bool), np.ones(4))


class _Three:
    """Finds the first `seen` of three people, more on a second look; counts the appearance."""

    name = "three"

    def __init__(self, seen: int = 3, more: int = 0) -> None:
        self.seen, self.more, self.looks = seen, more, 0

    def track(self, frames: np.ndarray, progress=no_progress) -> tuple[PersonTrack, ...]:
        self.looks += 1
        return tuple(_track(number, 100.0 / number) for number in range(1, self.seen + 1))

    def relaxed(self) -> "_Three":
        self.looks += 1
        return _Three(self.seen + self.more)


def _ids(found) -> list[int]:
    return [track.id for track in found.tracks]


def test_a_count_keeps_the_most_prominent():
    finder = _Three()
    found = detect_people(_clip(_frames()), finder=finder, count=2)
    assert _ids(found) == [1, 2] and not found.warnings and finder.looks == 1
    assert _ids(detect_people(_clip(_frames()), finder=_Three())) == [1, 2, 3]


@pytest.mark.parametrize(("more", "ids", "warned"), [(0, [1], True), (1, [1, 2], True), (2, [1, 2, 3], False)])
def test_fewer_than_counted_are_looked_for_again(more, ids, warned):
    found = detect_people(_clip(_frames()), finder=_Three(1, more), count=3)
    assert _ids(found) == ids
    assert [warning.split(";")[0] for warning in found.warnings] == [f"Expected 3 people, detected {len(ids)}"] * warned


def test_a_finder_of_ones_own_needs_no_second_look():
    finder = SimpleNamespace(name="one", track=lambda frames, progress: (_track(1, 50.0),))
    found = detect_people(_clip(_frames()), finder=finder, count=2)
    assert _ids(found) == [1] and "detected 1" in found.warnings[0]


def test_the_mini_looks_again_less_strictly(moving_square):
    frames, boxes = moving_square

    class Doubtful(_Scripted):
        def detect(self, frames: np.ndarray, progress=no_progress) -> tuple[Detections, ...]:
            return tuple(Detections(box[None], np.array([0.22])) for box in self.boxes)

    finder = DetectAndTrack(Doubtful(boxes))
    assert detect_people(_clip(frames), finder=finder).tracks == ()
    found = detect_people(_clip(frames), finder=finder, count=1)
    assert _ids(found) == [1] and len(found.warnings) == 1


def test_a_count_beside_masks_limits_them(tmp_path):
    for index in range(4):
        Image.fromarray(_label(index)).save(tmp_path / f"{index}.png")
    assert _ids(detect_people(_clip(_frames()), masks=tmp_path, count=1)) == [7]  # the larger one, longer seen
    found = detect_people(_clip(_frames()), masks=tmp_path, count=3)
    assert _ids(found) == [3, 7] and "Expected 3 people, detected 2" in found.warnings[0]


def test_picks_keep_their_ids_and_their_order():
    assert _ids(detect_people(_clip(_frames()), finder=_Three(), picks=(3, 1))) == [3, 1]
    assert _ids(detect_people(_clip(_frames()), finder=_Three(), picks=[2, 2])) == [2]
    assert _ids(detect_people(_clip(_frames()), finder=_Three(), picks=(2,), count=2)) == [2]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"picks": (4,)}, "got 4, but the people detected are 1, 2, 3;"),
        ({"picks": (3,), "count": 2}, "the people detected are 1, 2;"),
        ({"picks": (1,), "finder": _Three(0)}, "nobody was detected"),
        ({"count": 0}, "count of 1 or more people, got 0"),
        ({"finder": "eyes"}, "out of auto, mini, detector, sam2, got 'eyes'"),
    ],
)
def test_choices_that_make_no_sense(choice, message):
    with pytest.raises(InputError, match=message):
        detect_people(_clip(_frames()), **({"finder": _Three()} | choice))


# ---------------------------------------------------------------- which finder


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a CUDA device, as far as choosing goes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def _fails(error: Exception):
    def raising(*args, **options):
        raise error

    return raising


def test_without_a_gpu_the_mini_looks_and_says_why(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(people_module, "sam2_detector", _fails(AssertionError("not to be loaded")))
    found = detect_people(_clip(_frames()))
    assert found.finder == "mini"
    assert "bundled" in found.warnings[0] and "CUDA" not in found.warnings[0], (
        "whoever sees the result has no say in it"
    )
    assert "sam2: without a CUDA or XPU device" in caplog.text and "detector: " in caplog.text
    caplog.clear()
    plain = detect_people(_clip(_frames()), finder="mini")
    assert plain.finder == "mini" and plain.warnings == found.warnings and "sam2" not in caplog.text
    detect_people(_clip(_frames()), device="cpu")
    assert "CUDA" in caplog.text


def test_on_a_cpu_sam2_looks_at_short_clips_where_its_weights_are_cached(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(people_module, "sam2_detector", lambda *given: _Three())
    cached = {"ustc-community/dfine-xlarge-obj2coco": tmp_path}
    monkeypatch.setattr(pretrained, "cached_folder", cached.get)
    assert detect_people(_clip(_frames()), device="cpu").finder == "mini"
    cached["facebook/sam2.1-hiera-base-plus"] = tmp_path
    short = detect_people(_clip(_frames()), device="cpu")
    assert short.finder == "three" and not short.warnings
    monkeypatch.setattr(people_module, "SAM2_CPU_FRAMES", len(_frames()) - 1)
    long = detect_people(_clip(_frames()), device="cpu")
    assert long.finder == "mini" and "the clip has over" in caplog.text


def test_with_a_gpu_sam2_looks_once_a_second(gpu, monkeypatch):
    asked = []
    monkeypatch.setattr(people_module, "sam2_detector", lambda *given: asked.append(given) or _Three())
    found = detect_people(_clip(_frames(), fps=11.7))
    assert found.finder == "three" and not found.warnings and asked == [(None, 12)]
    detect_people(_clip(_frames(), fps=0.4), finder="sam2", device="cuda:1")
    assert asked[1] == ("cuda:1", 1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MissingDependencyError("no"), "transformers is not"),
        (MissingAssetError("no"), "its weights are neither cached"),
    ],
)
def test_what_sam2_lacks_is_said(gpu, monkeypatch, caplog, error, reason):
    monkeypatch.setattr(people_module, "sam2_detector", _fails(error))
    found = detect_people(_clip(_frames()))
    assert found.finder == "mini" and f"sam2: {reason}" in caplog.text
    with pytest.raises(type(error)):
        detect_people(_clip(_frames()), finder="sam2")


def test_auto_takes_the_best_detector_that_is_there_and_says_why_not_a_better_one(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(people_module, "keypoint_detector", lambda device, step_s: _Three())
    found = detect_people(_clip(_frames()))
    assert found.finder == "three" and len(found.warnings) == 1
    assert "outlines are rough" in found.warnings[0]
    assert "the finder detector. Better ones cannot be used. sam2: without" in caplog.text
    assert not detect_people(_clip(_frames()), finder="detector").warnings
    monkeypatch.setattr(people_module, "KEYPOINT_CPU_FRAMES", len(_frames()) - 1)
    found = detect_people(_clip(_frames()))
    assert found.finder == "mini" and "detector: it is slow without" in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(people_module, "keypoint_detector", _fails(MissingDependencyError("no")))
    found = detect_people(_clip(_frames()), device="cpu")
    assert found.finder == "mini" and "detector: transformers is not installed" in caplog.text
    with pytest.raises(MissingDependencyError):
        detect_people(_clip(_frames()), finder="detector")


def test_drawn_people_have_keypoints_of_the_best_network_that_is_there(moving_square, monkeypatch, tmp_path):
    from unish.people import keypoints

    frames, boxes = moving_square
    clip, drawn = _clip(frames[:2]), [Box(*boxes[0])]
    bundled = detect_people(clip, boxes=drawn).tracks[0].keypoints_px
    assert bundled is not None and (bundled[..., 2] < 0.5).mean() > 0.8, "a square is hardly a person"
    everywhere = SimpleNamespace(estimate=lambda frames, boxes_px: np.ones((len(frames), 17, 3)))
    monkeypatch.setattr(pretrained, "cached_folder", lambda repository: tmp_path)
    monkeypatch.setattr(keypoints, "load_keypoint_estimator", lambda device: everywhere)
    (person,) = detect_people(clip, boxes=drawn).tracks
    assert person.keypoints_px is not None and (person.keypoints_px == 1).all()
    assert person.masks is not None and person.masks[person.present].any((1, 2)).all()


def test_sam2_asked_for_needs_its_weights_and_transformers(monkeypatch):
    monkeypatch.setattr(pretrained, "_from_hub", _fails(MissingAssetError("Could not get it")))
    with pytest.raises(MissingAssetError, match="Could not get it"):
        detect_people(_clip(_frames()), finder="sam2", device="cpu")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match="transformers"):
        detect_people(_clip(_frames()), finder="sam2", device="cpu")


def test_progress_reaches_sam2():
    shares: list[float] = []
    nobody = SimpleNamespace(
        detect=lambda frames, progress=no_progress: tuple(Detections(np.zeros((0, 4)), np.zeros(0)) for _ in frames),
        propagate=lambda frames, boxes_px: iter(()),
    )
    found = detect_people(
        _clip(_frames()), finder=DetectAndSegment(nobody, nobody), progress=lambda share, message: shares.append(share)
    )
    assert found.finder == "sam2" and found.tracks == () and shares == [1.0]


def test_drawn_boxes_need_no_finder(gpu, moving_square, monkeypatch):
    monkeypatch.setattr(people_module, "sam2_detector", _fails(AssertionError("not to be loaded")))
    frames, boxes = moving_square
    assert detect_people(_clip(frames[:2]), boxes=[Box(*boxes[0])]).finder == "box"


def test_the_skater_is_followed(clips_dir):
    """Against boxes drawn by hand at four moments."""
    clip = read_clip(clips_dir / "skating.mp4")
    (track,) = detect_people(clip, boxes=[Box(315, 65, 435, 360)]).tracks
    assert isinstance(track, PersonTrack) and track.present.all()
    by_hand = {5: (248, 27, 385, 300), 10: (210, 72, 482, 332), 15: (262, 22, 460, 360), 20: (280, 60, 500, 335)}
    for index, box in by_hand.items():
        assert box_iou(track.boxes_px[[index]], np.array([box], float))[0, 0] > 0.5, index
