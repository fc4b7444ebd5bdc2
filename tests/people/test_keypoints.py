"""Keypoints: from crops and heatmaps to pixels of the frame, in networks of the real class, in tracks, and as masks."""

import itertools
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from unish.errors import CheckpointError
from unish.people.detect_and_track import DetectAndTrack
from unish.people.detection import detect_people
from unish.people.keypoints import (
    KeypointEstimator,
    VitPose,
    heatmap_peaks,
    load_keypoint_estimator,
    with_keypoints,
)
from unish.people.tracking import Detections, TrackingConfig
from unish.structures import KEYPOINT_NAMES, Clip, PersonTrack
from unish.utils.progress import no_progress

CPU = torch.device("cpu")
FIGURE = {
    "nose": (50, 22), "left_eye": (53, 19), "right_eye": (47, 19), "left_ear": (56, 20), "right_ear": (44, 20),
    "left_shoulder": (64, 42), "right_shoulder": (36, 42), "left_elbow": (74, 64), "right_elbow": (26, 64),
    "left_wrist": (78, 86), "right_wrist": (22, 86), "left_hip": (58, 92), "right_hip": (42, 92),
    "left_knee": (60, 126), "right_knee": (40, 126), "left_ankle": (62, 158), "right_ankle": (38, 158),
}  # fmt: skip


def gaussians(places: np.ndarray, rows: int = 64, columns: int = 48, sigma: float = 2.0) -> np.ndarray:
    """One heatmap per place (x, y), of height 0.8."""
    y, x = np.mgrid[:rows, :columns]
    squares = (x - places[..., :1, None]) ** 2 + (y - places[..., 1:, None]) ** 2
    return (0.8 * np.exp(-squares / (2 * sigma**2))).astype(np.float32)


def test_peaks_are_found_between_cells():
    generator = np.random.default_rng(0)
    places = generator.uniform((2, 2), (45, 61), (3, 17, 2))
    cells, confidence = heatmap_peaks(gaussians(places))
    assert np.abs(cells - places).max() < 0.02
    assert (confidence > 0.7).all() and (confidence <= 0.8).all()
    corner, _ = heatmap_peaks(gaussians(np.array([[[0.0, 63.0]]])))
    assert np.abs(corner - [0, 63]).max() <= 0.5
    nothing, sure = heatmap_peaks(np.full((1, 2, 64, 48), -0.1, np.float32))
    assert np.isfinite(nothing).all() and (sure == 0).all()


class Brightest:
    """A network whose heatmaps are the brightness of the crop, cells' centres lying evenly from edge to edge."""

    config = SimpleNamespace(backbone_config=SimpleNamespace(num_experts=1))

    def __call__(self, pixel_values: torch.Tensor, dataset_index: torch.Tensor | None) -> SimpleNamespace:
        bright = F.interpolate(pixel_values[:, 1:2] * 0.224 + 0.456, (64, 48), mode="bilinear", align_corners=True)
        return SimpleNamespace(heatmaps=bright.expand(-1, 17, -1, -1))


@pytest.mark.parametrize("box", [(100, 40, 180, 250), (90, 100, 290, 160), (-30, -20, 60, 120)])
def test_what_the_network_sees_comes_back_in_pixels_of_the_frame(box):
    """A soft spot in the frame, at a place within the box."""
    box = np.array(box, float)
    place = np.maximum(box[:2] + [0.6, 0.7] * (box[2:] - box[:2]), 5)
    sigma = 0.03 * (box[2:] - box[:2]).max()
    y, x = np.mgrid[:300, :400] + 0.5
    spot = 230 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2))
    frame = np.repeat(spot[..., None], 3, axis=-1).astype(np.uint8)
    keypoints = VitPose(Brightest(), CPU).estimate(frame[None], box[None])
    assert keypoints.shape == (1, 17, 3)
    assert np.abs(keypoints[0, :, :2] - place).max() < 0.6
    assert (keypoints[0, :, 2] > 0.7).all()


@pytest.fixture(scope="module", params=[1, 3])
def network_folder(request, tmp_path_factory):
    """A small network of the real class with random weights; with one expert, and with several as ViTPose++."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = transformers.VitPoseBackboneConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_experts=request.param, part_features=8,
        out_indices=[2],
    )  # fmt: skip
    names = dict(enumerate(KEYPOINT_NAMES))
    network = transformers.VitPoseForPoseEstimation(
        transformers.VitPoseConfig(backbone_config=backbone, id2label=names)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("vitpose")
    network.save_pretrained(folder)
    values = {
        "size": {"height": 256, "width": 192},
        "do_normalize": True,
        "image_mean": [0.5] * 3,
        "image_std": [0.2] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


def test_a_network_of_the_real_class_sees_the_same_wherever_the_person_stands(network_folder):
    estimator = load_keypoint_estimator(network_folder, "cpu")
    assert isinstance(estimator, KeypointEstimator) and estimator.preprocessing.mean == (0.5, 0.5, 0.5)
    person = np.random.default_rng(0).integers(0, 255, (90, 50, 3), np.uint8)
    frames = np.zeros((2, 200, 300, 3), np.uint8)
    frames[0, 60:150, 80:130], frames[1, 70:160, 200:250] = person, person
    boxes = np.array([[80.0, 60, 130, 150], [200, 70, 250, 160]])
    first, second = estimator.estimate(frames, boxes)
    np.testing.assert_allclose(second[:, :2] - first[:, :2], np.tile([120.0, 10.0], (17, 1)), atol=0.05)
    np.testing.assert_allclose(second[:, 2], first[:, 2], atol=1e-3)
    (alone,) = estimator.estimate(frames[1:], boxes[1:])
    np.testing.assert_allclose(alone, second, atol=1e-3)


def test_a_network_of_other_keypoints_is_refused(network_folder, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.VitPoseConfig.from_pretrained(network_folder)
    config.num_labels = 16
    transformers.VitPoseForPoseEstimation(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="has 16"):
        load_keypoint_estimator(tmp_path, "cpu")


# ---------------------------------------------------------------- in tracks


class Figure:
    """Says where the figure is: at its place in a box of 100 × 180 pixels, whatever the image."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def estimate(self, frames: np.ndarray, boxes_px: np.ndarray) -> np.ndarray:
        self.asked.append(len(frames))
        points = np.array([(*FIGURE[name], 0.9) for name in KEYPOINT_NAMES])
        return points[None] + np.concatenate([boxes_px[:, :2], np.zeros((len(boxes_px), 1))], axis=1)[:, None]


def figure_frames(corners: list[tuple[int, int]], picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A person of thick limbs in one colour before the picture, and their pixels."""
    frames, masks = [], []
    for corner in corners:
        at = {name: (x + corner[0], y + corner[1]) for name, (x, y) in FIGURE.items()}
        mask = np.zeros(picture.shape[:2], np.uint8)
        for side in ("left", "right"):
            for names in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")):
                places = [at[f"{side}_{name}"] for name in names]
                for start, end in itertools.pairwise(places):
                    cv2.line(mask, start, end, 1, 18)
        torso = [at[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
        cv2.fillConvexPoly(mask, np.array(torso), 1)
        cv2.circle(mask, at["nose"], 15, 1, cv2.FILLED)
        frame = picture.copy()
        frame[mask > 0] = (210, 40, 60)
        frames.append(frame)
        masks.append(mask > 0)
    return np.stack(frames), np.stack(masks)


class Red:
    """Takes what is red, like the figure, for the person."""

    def person_chances(self, frames: np.ndarray, boxes_px: np.ndarray) -> np.ndarray:
        return (frames == (210, 40, 60)).all(-1).astype(np.float32)


@pytest.fixture(scope="module")
def figure(textured_image):
    return figure_frames([(40, 30), (60, 32), (80, 34)], textured_image)


def figure_boxes(corners) -> np.ndarray:
    return np.array([(x, y, x + 100, y + 180) for x, y in corners], float)


def test_keypoints_are_those_of_the_frames_in_which_somebody_is_present(figure):
    frames, _ = figure
    present = np.array([True, False, True])
    tracks = [
        PersonTrack(number, figure_boxes([(40, 30), (60, 32), (80, 34)]), seen, seen.astype(float))
        for number, seen in ((1, present), (2, np.ones(3, bool)))
    ]
    estimator, shares = Figure(), []
    first, second = with_keypoints(frames, tracks, estimator, lambda share, _: shares.append(share), batch=2)
    assert estimator.asked == [2, 2, 1] and shares[-1] == 1.0
    assert (first.keypoints_px[1] == 0).all() and (second.keypoints_px[1, :, 2] == 0.9).all()
    np.testing.assert_allclose(first.keypoints_px[2, 0], [130, 56, 0.9])


def test_the_detector_gives_people_with_keypoints_and_masks(figure):
    frames, truth = figure
    boxes = figure_boxes([(40, 30), (60, 32), (80, 34)])
    scripted = SimpleNamespace(
        detect=lambda frames, progress=no_progress: tuple(Detections(box[None], np.array([0.9])) for box in boxes)
    )
    detector = DetectAndTrack(scripted, TrackingConfig(), "detector", Figure(), Red())
    clip = Clip(frames, np.arange(3) / 6, 6.0, "made", (frames.shape[2], frames.shape[1]))
    people = detect_people(clip, finder=detector)
    (track,) = people.tracks
    assert people.finder == "detector" and not people.warnings
    assert track.keypoints_px.shape == (3, 17, 3) and (track.keypoints_px[..., 2] == 0.9).all()
    assert (track.masks & truth).sum() > 0.98 * (track.masks | truth).sum()
