"""The metrics against the reference evaluators' outputs, and their invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from unish.errors import InputError
from unish.evaluation import metrics


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-3)


def test_world_series_match_the_reference_evaluators(reference_dir):
    golden = load_file(reference_dir / "motion_metrics.safetensors")
    motion = metrics.world_motion(golden["input.world_joints_pred"], golden["input.world_joints_true"], fps=30)
    close(motion.wa_mpjpe_mm, golden["world.waa_mpjpe"])
    close(motion.w_mpjpe_mm, golden["world.wa2_mpjpe"])
    close(motion.rte_percent, golden["world.rte"])
    close(motion.jitter, golden["world.jitter"])
    sliding = metrics.foot_sliding(golden["input.world_foot_vertices_pred"], golden["input.world_foot_vertices_true"])
    close(sliding, golden["world.fs"])


def test_camera_series_match_the_reference_evaluators(reference_dir):
    golden = load_file(reference_dir / "motion_metrics.safetensors")
    pred, true = golden["input.camera_joints_pred"], golden["input.camera_joints_true"]
    close(metrics.mpjpe(pred, true), golden["camera.mpjpe"])
    close(metrics.pa_mpjpe(pred, true), golden["camera.pa_mpjpe"])
    close(metrics.accel(pred, true, fps=30), golden["camera.accel"])
    vertices = golden["input.camera_vertices_pred"], golden["input.camera_vertices_true"]
    close(metrics.pve(*vertices, pred, true), golden["camera.pve"])


def test_every_series_of_the_reference_is_held_against_ours(reference_dir):
    """The two tests above name all of them: a series that is added to the file must be added there."""
    golden = load_file(reference_dir / "motion_metrics.safetensors")
    series = {name for name in golden if not name.startswith("input.")}
    world = {"world.waa_mpjpe", "world.wa2_mpjpe", "world.rte", "world.jitter", "world.fs"}
    assert series == world | {"camera.mpjpe", "camera.pa_mpjpe", "camera.accel", "camera.pve"}


def test_a_similarity_of_the_prediction_changes_no_aligned_number(rng):
    true = rng.normal(size=(7, 24, 3)).cumsum(0)
    pred = true + 0.05 * rng.normal(size=true.shape)
    moved = 1.7 * pred @ rotation(rng).T + rng.normal(size=3)
    for metric in (metrics.pa_mpjpe, metrics.wa_mpjpe, metrics.w_mpjpe):
        np.testing.assert_allclose(metric(moved, true), metric(pred, true), rtol=1e-6)
    rigid = pred[:, 0] @ rotation(rng).T + rng.normal(size=3)
    np.testing.assert_allclose(
        metrics.root_translation_error(rigid, true[:, 0]),
        metrics.root_translation_error(pred[:, 0], true[:, 0]),
        rtol=1e-6,
    )


def test_perfect_motion_scores_zero_and_noise_scores_more(rng):
    true = rng.normal(size=(130, 24, 3)).cumsum(0) * 0.01
    noise = rng.normal(size=true.shape)
    rows = [metrics.world_motion(true + s * noise, true).means() for s in (0.0, 0.01, 0.03)]
    for name in ("wa_mpjpe_mm", "w_mpjpe_mm", "rte_percent", "accel"):
        assert rows[0][name] == pytest.approx(0, abs=1e-3)
        assert rows[0][name] < rows[1][name] < rows[2][name]


def test_mpjpe_of_a_hand_worked_case():
    true = np.zeros((1, 24, 3))
    pred = true.copy()
    pred[0, 5] = [0.0, 0.3, 0.4]  # half a metre on one of 24 joints
    assert metrics.mpjpe(pred, true)[0] == pytest.approx(500 / 24)


def test_depth_metrics_of_hand_worked_cases():
    true = np.array([[1.0, 2.0, 4.0, 0.0]])
    valid = true > 0
    pred = np.array([[1.1, 2.0, 6.0, 9.0]])
    assert metrics.abs_rel(pred, true, valid) == pytest.approx((0.1 + 0 + 0.5) / 3)
    assert metrics.delta_125(pred, true, valid) == pytest.approx(2 / 3)
    outlier = np.array([[0.5, 1.0, 50.0, 0.0]])  # L1 keeps the scale of the two good pixels only if they outweigh
    assert metrics.align_scale(0.5 * true, true, valid) == pytest.approx(2.0)
    assert metrics.align_scale(np.repeat(outlier, 1, 0), true, valid & (outlier < 10)) == pytest.approx(2.0)
    with pytest.raises(InputError, match="valid pixel"):
        metrics.abs_rel(pred, true, np.zeros_like(valid))


def test_camera_error_ignores_a_similarity_and_counts_the_rest(rng):
    true = np.tile(np.eye(4), (6, 1, 1))
    true[:, :3, 3] = rng.normal(size=(6, 3))
    moved = true.copy()
    moved[:, :3, 3] = 0.2 * true[:, :3, 3] @ rotation(rng).T + 1.0
    assert metrics.camera_ate(moved, true).max() == pytest.approx(0, abs=1e-6)
    assert metrics.camera_ate(moved, true, with_scale=False).max() > 1.0
    static = np.tile(np.eye(4), (6, 1, 1))
    spread = np.linalg.norm(true[:, :3, 3] - true[:, :3, 3].mean(0), axis=-1) * 100
    np.testing.assert_allclose(metrics.camera_ate(static, true), spread, rtol=1e-6)


def test_shapes_that_differ_are_refused():
    with pytest.raises(InputError, match="equal shape"):
        metrics.world_motion(np.zeros((3, 24, 3)), np.zeros((4, 24, 3)))


# --- depth and cameras ---------------------------------------------------------------------------------------------


def test_a_line_through_depth_is_found_among_outliers(rng):
    true = rng.uniform(1, 9, size=400)
    pred = (true - 0.7) / 1.8
    true[:60] += rng.uniform(3, 9, size=60)
    scale, shift = metrics.align_scale_shift(pred, true, np.ones(400, bool), steps=50)
    assert scale == pytest.approx(1.8, rel=1e-3) and shift == pytest.approx(0.7, abs=1e-2)
    valid = np.ones(400, bool)
    valid[60:] = False
    with pytest.raises(InputError, match="valid pixel"):
        metrics.align_scale_shift(pred, true, np.zeros(400, bool))
    flat = np.full(400, 2.0)
    assert metrics.align_scale_shift(flat, true, ~valid) == (1.0, pytest.approx(np.median(true[60:]) - 2, abs=0.1))


def random_cameras(rng: np.random.Generator, frames: int = 12) -> np.ndarray:
    cameras = np.tile(np.eye(4), (frames, 1, 1))
    cameras[:, :3, :3] = [rotation(rng) for _ in range(frames)]
    cameras[:, :3, 3] = rng.normal(size=(frames, 3)).cumsum(0)
    return cameras


def test_camera_errors_are_those_of_evo(rng):
    pytest.importorskip("evo")
    from evo.core.metrics import APE, RPE, PoseRelation, Unit
    from evo.core.trajectory import PosePath3D

    true = random_cameras(rng)
    found = true.copy()
    found[:, :3, 3] = 0.4 * found[:, :3, 3] @ rotation(rng).T + 0.1 * rng.normal(size=(12, 3)) + 5
    paths = PosePath3D(poses_se3=list(true)), PosePath3D(poses_se3=list(found))
    paths[1].align(paths[0], correct_scale=True)
    ape = APE(PoseRelation.translation_part)
    ape.process_data(paths)
    np.testing.assert_allclose(metrics.camera_ate(found, true) / 100, ape.error, rtol=1e-6)
    steps_m, turns_deg = metrics.camera_rpe(found, true)
    for relation, ours in ((PoseRelation.translation_part, steps_m), (PoseRelation.rotation_angle_deg, turns_deg)):
        rpe = RPE(relation, delta=1, delta_unit=Unit.frames, all_pairs=True)
        rpe.process_data(paths)
        np.testing.assert_allclose(ours, rpe.error, rtol=1e-6, atol=1e-6)


def test_relative_pose_errors_of_a_hand_worked_case():
    true, found = np.tile(np.eye(4), (4, 1, 1)), np.tile(np.eye(4), (4, 1, 1))
    true[:, 0, 3] = [0, 1, 2, 3]
    found[:, 0, 3] = [0, 1, 2, 4]
    angle = np.radians(10)
    found[3, :2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    steps_m, turns_deg = metrics.camera_rpe(found, true, with_scale=False)
    np.testing.assert_allclose(steps_m, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(turns_deg, [0, 0, 10], atol=1e-5)


# --- properties ----------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.floats(0.05, 20)
SHIFTS = st.floats(-3, 3)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SCALES, SHIFTS)
def test_aligned_depth_does_not_depend_on_what_it_is_aligned_by(seed, factor, offset):
    rng = np.random.default_rng(seed)
    true = rng.uniform(1, 9, size=200)
    pred = true * rng.uniform(0.8, 1.2, size=200)
    valid = rng.random(200) < 0.9
    valid[:2] = True

    def by_scale(depth: np.ndarray) -> float:
        return metrics.abs_rel(metrics.align_scale(depth, true, valid) * depth, true, valid)

    def by_line(depth: np.ndarray) -> float:
        scale, shift = metrics.align_scale_shift(depth, true, valid)
        return metrics.abs_rel(scale * depth + shift, true, valid)

    assert by_scale(factor * pred) == pytest.approx(by_scale(pred), rel=1e-6)
    assert by_line(factor * pred + offset) == pytest.approx(by_line(pred), rel=1e-5)
    scale = metrics.align_scale(true, true, valid)
    assert scale == pytest.approx(1) and by_scale(true) == pytest.approx(0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(SEEDS, SCALES)
def test_camera_errors_do_not_depend_on_a_similarity(seed, factor):
    rng = np.random.default_rng(seed)
    true = random_cameras(rng)
    found = true.copy()
    found[:, :3, 3] += 0.1 * rng.normal(size=(12, 3))
    turn, moved = rotation(rng), found.copy()
    moved[:, :3, :3] = turn @ found[:, :3, :3]
    moved[:, :3, 3] = factor * found[:, :3, 3] @ turn.T + rng.normal(size=3)
    np.testing.assert_allclose(metrics.camera_ate(moved, true), metrics.camera_ate(found, true), rtol=1e-5)
    for here, there in zip(metrics.camera_rpe(moved, true), metrics.camera_rpe(found, true), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_rigid_motion_and_place_change_no_camera_frame_number(seed):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(9, 24, 3))
    pred = true + 0.1 * rng.normal(size=true.shape)
    beside = pred + rng.normal(size=(9, 1, 3))
    np.testing.assert_allclose(metrics.mpjpe(beside, true), metrics.mpjpe(pred, true), rtol=1e-9)
    np.testing.assert_allclose(metrics.accel(beside, true), metrics.accel(pred, true), rtol=1e-6)
    np.testing.assert_allclose(metrics.jitter(pred + rng.normal(size=3)), metrics.jitter(pred), rtol=1e-6)
    turned = 1.3 * pred @ rotation(rng).T + rng.normal(size=3)
    np.testing.assert_allclose(metrics.pa_mpjpe(turned, true), metrics.pa_mpjpe(pred, true), rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_more_noise_is_never_better(seed):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(60, 24, 3)) + 0.1 * np.arange(60)[:, None, None]
    noise = rng.normal(size=true.shape)
    cameras = random_cameras(rng)
    depth = rng.uniform(1, 9, size=500)
    grain, valid = rng.uniform(-1, 1, size=500), np.ones(500, bool)
    rows = []
    for size in (0.0, 0.02, 0.08, 0.3):
        found, noisy = cameras.copy(), true + size * noise
        found[:, :3, 3] += size * noise[:12, 0]
        pred = depth * (1 + size * grain)
        pred *= metrics.align_scale(pred, depth, valid)
        motion = metrics.world_motion(noisy, true)
        rows.append(
            [
                metrics.abs_rel(pred, depth, valid),
                -metrics.delta_125(pred, depth, valid),
                metrics.camera_ate(found, cameras).mean(),
                metrics.camera_rpe(found, cameras)[0].mean(),
                metrics.mpjpe(noisy, true).mean(),
                metrics.pa_mpjpe(noisy, true).mean(),
                motion.wa_mpjpe_mm.mean(),
                motion.w_mpjpe_mm.mean(),
                motion.rte_percent.mean(),
                motion.accel.mean(),
            ]
        )
    assert (np.diff(rows, axis=0) >= -1e-9).all()


def test_world_size_and_sliding_of_hand_worked_cases():
    line = np.linspace(0, 3, 31)[:, None] * np.array([1.0, 0, 0])
    turned = 0.47 * line[:, [1, 2, 0]] + 5
    assert metrics.world_size(turned, line) == pytest.approx(0.47)
    assert np.isnan(metrics.world_size(line, 0.1 * line))
    true = np.zeros((4, 2, 3))
    true[:, 1, 0] = [0, 0.009, 0.02, 0.02]  # at 30 frames per second: 27, 33 and 0 cm/s
    assert metrics.in_contact(true, 30).tolist() == [[True, True], [True, False], [True, True]]
    predicted = np.zeros((4, 2, 3))
    predicted[:, 0, 2] = [0, 0.01, 0.03, 0.03]
    np.testing.assert_allclose(metrics.foot_sliding_speed(predicted, true, 30), [30, 0, 60, 0, 0], atol=1e-9)
