"""The labeller: right on small patches of a body, wrong about the whole, and blind to what no video shows."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from train.data.schema import UNLABELLED, ClipSample, decode_sample, encode_sample, iterate_clips
from train.synthetic.__main__ import main
from train.synthetic.clips import generate_clip
from train.synthetic.dataset import DatasetConfig, make_dataset
from train.synthetic.labeller import LabellerConfig, pseudo_labels

ARRAYS = ("depth_m", "person_mask", "intrinsics", "boxes_px", "visibility", "joints_px", *UNLABELLED)
PATCH_M = 0.2


@pytest.fixture(scope="module")
def clips() -> list[ClipSample]:
    return [generate_clip(seed, frames=3, long_side_px=224, world="wild") for seed in range(5)]


def affine_residual(truth: np.ndarray, guess: np.ndarray) -> float:
    """What is left of the guess after the best affine map of the truth: root mean square, as a share."""
    design = np.stack([truth, np.ones_like(truth)], 1)
    weights = 1 / guess
    solution = np.linalg.lstsq(design * weights[:, None], guess * weights, rcond=None)[0]
    return float(np.sqrt(np.mean(((design @ solution - guess) * weights) ** 2)))


def body_patches(clip: ClipSample, label: ClipSample, rng: np.random.Generator):
    """True and guessed depth of random patches of a body, without the pixels beside a jump."""
    height, width = clip.depth_m.shape[1:]
    u, v = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    for frame in range(clip.frames):
        mask = clip.person_mask[frame] > 0
        depth = clip.depth_m[frame]
        near, far = cv2.erode(depth, np.ones((3, 3))), cv2.dilate(depth, np.ones((3, 3)))
        mask &= far < 1.1 * near
        mask &= label.depth_m[frame] > 0
        truth, guess = clip.depth_m[frame][mask].astype(float), label.depth_m[frame][mask].astype(float)
        focal = clip.intrinsics[0, 0, 0]
        points = np.stack([u[mask] * truth / focal, v[mask] * truth / focal, truth], 1)
        for _ in range(4):
            if len(points) == 0:
                break
            near = np.linalg.norm(points - points[rng.integers(len(points))], axis=1) < PATCH_M
            if near.sum() >= 24:
                yield truth[near], guess[near]


def test_depth_is_affine_on_patches_of_a_body_but_not_on_the_whole(clips):
    rng = np.random.default_rng(0)
    local, whole = [], []
    for seed, clip in enumerate(clips):
        label = pseudo_labels(clip, seed)
        local += [affine_residual(*patch) for patch in body_patches(clip, label, rng)]
        for frame in range(clip.frames):
            known = (clip.depth_m[frame] > 0) & (label.depth_m[frame] > 0)
            whole.append(affine_residual(clip.depth_m[frame][known], label.depth_m[frame][known]))
    assert len(local) > 20
    assert np.quantile(local, 0.9) < 0.01
    assert np.median(whole) > 3 * np.median(local)


def test_scale_and_shift_are_unknown_and_one_for_a_clip_but_for_a_drift(clips):
    ratios = []
    for seed in range(24):
        label = pseudo_labels(clips[0], seed)
        known = (label.depth_m > 0) & (clips[0].depth_m > 0)
        ratio = np.where(known, label.depth_m / np.maximum(clips[0].depth_m, 1e-3), np.nan)
        per_frame = np.log(np.nanmedian(ratio, axis=(1, 2)))
        assert 0 < np.ptp(per_frame) < 0.15
        ratios.append(per_frame.mean())
        assert label.depth_m[known].min() > 0.1
    assert 0.2 < np.std(ratios) < 0.5


def test_holes_and_unknown_depth_stay_unknown(clips):
    label = pseudo_labels(clips[1], 3, LabellerConfig(holes=0.05))
    assert (label.depth_m[clips[1].depth_m == 0] == 0).all()
    missing = (label.depth_m == 0) & (clips[1].depth_m > 0)
    assert 0.02 < missing.sum() / (clips[1].depth_m > 0).sum() < 0.08


def test_masks_stray_by_a_pixel_or_two_and_boxes_are_theirs(clips):
    for seed, clip in enumerate(clips):
        label = pseudo_labels(clip, seed, LabellerConfig(missing_frame=0.0))
        truth, guess = clip.person_mask == 1, label.person_mask == 1
        share = (truth & guess).sum() / (truth | guess).sum()
        assert 0.7 < share < 0.99
        for frame in range(clip.frames):
            rows, columns = np.nonzero(guess[frame])
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_array_equal(label.boxes_px[0, frame], box)
            near = np.abs(np.array(box) - clip.boxes_px[0, frame])
            assert near.max() < 8
    lost = pseudo_labels(clips[0], 0, LabellerConfig(missing_frame=1.0))
    assert not lost.person_mask.any() and not lost.boxes_px.any() and not lost.visibility.any()


def test_hidden_truth_does_not_leak(clips):
    clip, other = clips[0], clips[1]
    changed = replace(
        clip,
        betas=clip.betas + 1,
        body_rotations=other.body_rotations,
        translation_camera=other.translation_camera + 2,
        world_from_camera=other.world_from_camera,
        joints_px=clip.joints_px + 5,
        boxes_px=clip.boxes_px * 0.5,
        visibility=clip.visibility * 0.3,
    )
    first, second = pseudo_labels(clip, 7), pseudo_labels(changed, 7)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_what_a_labeller_does_not_say_is_blank(clips):
    label = pseudo_labels(clips[0], 7)
    assert label.unknown == UNLABELLED and "depth_m" in label.pseudo and "joints_px" not in label.pseudo
    assert label.people == 1 and np.isnan(label.joints_px).all()
    assert not label.betas.any() and not label.translation_camera.any()
    np.testing.assert_array_equal(label.world_from_camera, np.tile(np.eye(4), (3, 1, 1)))
    np.testing.assert_array_equal(label.body_rotations, np.tile(np.eye(3), (1, 3, 24, 1, 1)))
    focal = label.intrinsics[:, 0, 0] / clips[0].intrinsics[:, 0, 0]
    assert np.ptp(focal) < 1e-6 and abs(focal[0] - 1) > 1e-4
    joints = np.zeros((1, 3, 24, 2), np.float32)
    assert "joints_px" in pseudo_labels(clips[0], 7, joints_px=joints).pseudo


def test_a_seed_gives_the_same_labels_and_another_does_not(clips):
    again, other = pseudo_labels(clips[0], np.random.default_rng(7)), pseudo_labels(clips[0], 8)
    label = pseudo_labels(clips[0], 7)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(label, name))
    assert not np.array_equal(other.depth_m, label.depth_m)


def test_of_several_people_the_first_is_labelled():
    clip = generate_clip(1, frames=1, long_side_px=168, world="studio", people_count=3)
    assert clip.people > 1
    label = pseudo_labels(clip, 0, LabellerConfig(missing_frame=0.0))
    assert label.people == 1 and label.person_mask.max() == 1
    assert (label.person_mask[clip.person_mask == 1]).mean() > 0.7


def test_labels_survive_a_shard(clips):
    label = pseudo_labels(clips[0], 7)
    back = decode_sample(encode_sample(label))
    assert back.pseudo == label.pseudo and back.unknown == label.unknown
    assert np.isnan(back.joints_px).all()


def test_the_command_line_makes_both_kinds_of_labels(tmp_path):
    small = {"clips": 1, "frames": 2, "long_side_px": 112, "workers": 1, "world": "wild"}
    make_dataset(DatasetConfig(tmp_path / "pseudo", labels="pseudo", **small))
    make_dataset(DatasetConfig(tmp_path / "true", labels="true", split="train", **small))
    label, truth = (next(iterate_clips(tmp_path / name)) for name in ("pseudo", "true"))
    assert label.clip_id == truth.clip_id == "wild-00000000"
    np.testing.assert_array_equal(label.images, truth.images)
    assert label.unknown == UNLABELLED and truth.unknown == ()
    assert truth.betas.any() and not np.allclose(label.depth_m, truth.depth_m)


@pytest.mark.parametrize("wrong", [["--world", "mars"], ["--labels", "none"], ["--people", "9"]])
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, wrong, capsys):
    assert main(["--out", str(tmp_path / "data"), *wrong]) == 2
    assert capsys.readouterr().err.startswith(f"error: {wrong[0]}")
