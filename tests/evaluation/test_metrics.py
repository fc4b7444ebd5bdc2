"""The metrics against the reference evaluators' outputs, and their invariances."""

import numpy as np
import pytest
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
