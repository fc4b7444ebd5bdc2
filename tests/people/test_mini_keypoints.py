import numpy as np
import pytest
import torch

from tests.helpers.small_keypoints import SMALL
from unish.errors import CheckpointError, MissingAssetError
from unish.people.detection import detect_people, mini_detector
from unish.people.keypoints import KeypointEstimator, crop_regions
from unish.people.mini_keypoints import (
    MIRRORED_KEYPOINTS,
    MiniKeypointNet,
    MiniKeypointOutput,
    MiniKeypoints,
    cell_probabilities,
    keypoints_in_cells,
    load_mini_keypoints,
    save_mini_keypoints,
)
from unish.structures import KEYPOINT_NAMES
from unish.utils.assets import SAMPLE_CLIP
from unish.video.reader import read_clip


class _Marks(MiniKeypointNet):
    """Sees a white square as the nose; all other keypoints are absent."""

    def forward(self, images):
        cells = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4)
        absent = torch.full((len(images), len(KEYPOINT_NAMES)), 200.0)
        absent[:, 0] = 0.0
        marks = 100 * cells.expand(-1, len(KEYPOINT_NAMES), -1, -1) - 10
        return MiniKeypointOutput(marks, absent, torch.zeros(len(images), 48, 32))


def test_a_mirror_swaps_left_and_right():
    names = [KEYPOINT_NAMES[index] for index in MIRRORED_KEYPOINTS]
    swapped = [name.replace("left", "_").replace("right", "left").replace("_", "right", 1) for name in names]
    assert names[0] == "nose" and names[5:7] == ["right_shoulder", "left_shoulder"]
    assert len(swapped) == len(KEYPOINT_NAMES) and sorted(MIRRORED_KEYPOINTS) == list(range(17))


def test_what_is_missing_to_one_is_the_chance_of_absence():
    output = MiniKeypointOutput(torch.zeros(2, 17, 3, 4), torch.full((2, 17), np.log(12.0)), torch.zeros(2, 6, 8))
    torch.testing.assert_close(cell_probabilities(output).sum((-2, -1)), torch.full((2, 17), 0.5))


def test_a_peak_between_cells_is_located_and_its_surroundings_are_the_confidence():
    rows, columns = np.mgrid[:24, :16]
    bump = np.exp(-((columns - 5.3) ** 2 + (rows - 9.8) ** 2) / 2)
    probabilities = torch.from_numpy(0.6 * bump / bump.sum()).float().expand(1, 17, -1, -1)
    cells, confidence = keypoints_in_cells(probabilities)
    np.testing.assert_allclose(cells, np.broadcast_to([5.3, 9.8], (1, 17, 2)), atol=0.02)
    assert (np.abs(confidence - 0.6) < 0.03).all()


def test_a_broad_bump_beats_a_sharper_and_smaller_one():
    rows, columns = np.mgrid[:48, :32]

    def bump(column, row, spread):
        blob = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * spread**2))
        return blob / blob.sum()

    probabilities = 0.7 * bump(10, 12, 2.5) + 0.3 * bump(24, 40, 1.0)
    assert probabilities[40, 24] > probabilities[12, 10]
    cells, _ = keypoints_in_cells(torch.from_numpy(probabilities).float().expand(1, 17, -1, -1))
    np.testing.assert_allclose(cells, np.broadcast_to([10, 12], (1, 17, 2)), atol=0.3)


def test_places_are_those_of_the_frame():
    box = np.array([[50.0, 40.0, 90.0, 120.0]])
    left, _, right, _ = crop_regions(box, 64 / 96)[0]
    scale = (right - left) / 63
    mark = np.array([70.0, 60.0])
    frame = np.zeros((1, 200, 200, 3), np.uint8)
    half = round(2 * scale)
    frame[0, int(mark[1]) - half : int(mark[1]) + half, int(mark[0]) - half : int(mark[0]) + half] = 255
    found = MiniKeypoints(_Marks(SMALL)).estimate(frame, box)
    assert np.linalg.norm(found[0, 0, :2] - mark) < 2 * scale, "within half a cell"
    assert found[0, 0, 2] > 0.5 and (found[0, 1:, 2] == 0).all()


def test_weights_are_saved_and_loaded_and_foreign_ones_refused(tmp_path):
    torch.manual_seed(0)
    network = MiniKeypointNet(SMALL).eval()
    save_mini_keypoints(network, tmp_path / "weights")
    loaded = load_mini_keypoints(tmp_path / "weights")
    images = torch.rand(2, 3, 96, 64)
    torch.testing.assert_close(loaded.network(images).cell_logits, network(images).cell_logits, atol=2e-2, rtol=2e-2)
    with pytest.raises(MissingAssetError, match="keypoint network"):
        load_mini_keypoints(tmp_path)
    (tmp_path / "weights/model.safetensors").write_bytes(b"not weights")
    load_mini_keypoints.cache_clear()
    with pytest.raises(CheckpointError, match="keypoint network"):
        load_mini_keypoints(tmp_path / "weights")


def test_the_bundled_detector_gives_keypoints_on_the_body():
    """Shoulders above hips above ankles, inside the box, in a clip whose person stands."""
    assert isinstance(load_mini_keypoints(), KeypointEstimator)
    clip = read_clip(SAMPLE_CLIP, fps=3)
    (person, *_) = detect_people(clip, finder=mini_detector()).tracks
    assert person.keypoints_px is not None
    keypoints = person.keypoints_px[person.present]
    heights = [np.median(keypoints[:, part, 1]) for part in ([5, 6], [11, 12], [15, 16])]
    assert heights[0] < heights[1] < heights[2]
    assert np.median(keypoints[:, 5:, 2]) > 0.25
    boxes = person.boxes_px[person.present]
    margin = 0.15 * (boxes[:, 3] - boxes[:, 1])[:, None]
    inside = (keypoints[..., 1] > boxes[:, 1:2] - margin) & (keypoints[..., 1] < boxes[:, 3:] + margin)
    assert inside[:, 5:].mean() > 0.9
