"""A camera that turns and zooms on the spot, all the way through the pipeline."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.helpers.long_clips import two_people
from train.data.augment import take_frames
from train.data.sequences import reconstruct_with_boxes
from train.synthetic.oracle import EXACT, Oracle
from unish.body import open_body
from unish.fusion.turning_camera import SharedFeatures, TurningCamera
from unish.geometry.camera import project
from unish.pipeline.mapping import with_measured_lens
from unish.pipeline.options import ClipPriors
from unish.structures import Reconstruction

FRAMES, FOCAL = 45, 1.4


@pytest.fixture(scope="module")
def body():
    return open_body()


@pytest.fixture(scope="module")
def clip():
    return take_frames(two_people(), np.arange(FRAMES))


def camera(zooms: bool) -> tuple[TurningCamera, np.ndarray, np.ndarray]:
    """A camera, what it measures at every second frame, its rotations and its zoom."""
    share, frames = np.linspace(0, 1, FRAMES), np.arange(0, FRAMES, 2)
    rotations = Rotation.from_euler("yx", np.stack([40 * share, 3 * np.sin(5 * share)], 1), degrees=True).as_matrix()
    zoom = np.exp(0.3 * (share - share[frames].mean())) if zooms else np.ones(FRAMES)
    directions = np.random.default_rng(0).normal(size=(20_000, 3))
    seen = np.einsum("fij,pj->fpi", rotations, directions)
    uv = FOCAL * zoom[:, None, None] * seen[..., :2] / seen[..., 2:]
    shown = (seen[..., 2] > 0) & (np.abs(uv) < 0.7).all(-1)
    parts = []
    for place in range(len(frames) - 1):
        first, second = frames[place : place + 2]
        both = np.flatnonzero(shown[first] & shown[second])[:40]
        parts.append((np.full(len(both), place), np.full(len(both), place + 1), uv[first, both], uv[second, both]))
    features = SharedFeatures(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return TurningCamera(features, frames, np.ones(len(frames), bool), zooms, FOCAL, 0.03), rotations, zoom


@pytest.fixture(scope="module")
def network(clip, body) -> Reconstruction:
    return reconstruct_with_boxes(clip, Oracle(clip, EXACT), body, priors=ClipPriors(FOCAL))


@pytest.mark.parametrize("zooms", [False, True])
def test_the_result_turns_and_zooms_and_stays_where_it_is(clip, body, network, zooms):
    measured, rotations, zoom = camera(zooms)
    scene = reconstruct_with_boxes(clip, Oracle(clip, EXACT), body, priors=ClipPriors(FOCAL), sparse_map=measured)
    poses = scene.cameras.world_from_camera.astype(np.float64)
    assert np.ptp(poses[:, :3, 3], axis=0).max() < 1e-3, "a metre is a long way"
    measured_frames = measured.frames
    turned = poses[measured_frames, :3, :3].swapaxes(1, 2) @ poses[0, :3, :3]
    true = rotations[measured_frames] @ rotations[0].T
    assert np.degrees(Rotation.from_matrix(turned @ true.swapaxes(1, 2)).magnitude()).max() < 0.1
    assert scene.provenance.mapped_frames == len(measured_frames)
    focal = scene.cameras.intrinsics[:, 0, 0] / (0.5 * np.hypot(scene.cameras.width_px, scene.cameras.height_px))
    np.testing.assert_allclose(focal, FOCAL * zoom, rtol=0.01)
    assert any("zoom" in warning for warning in scene.provenance.warnings) == zooms
    # What a longer lens shows as large is so much farther away; in the image nothing moves.
    factors = (scene.depth_m / network.depth_m).reshape(FRAMES, -1)
    np.testing.assert_allclose(factors, np.broadcast_to(zoom[:, None], factors.shape), rtol=0.02)
    for person, before in zip(scene.people, network.people, strict=True):
        pelvis, was = (torch.from_numpy(one.translation_camera) for one in (person, before))
        np.testing.assert_allclose(pelvis[:, 2] / was[:, 2], zoom, rtol=0.02)
        places = [
            project(p[:, None], torch.from_numpy(s.cameras.intrinsics)) for p, s in ((pelvis, scene), (was, network))
        ]
        assert (places[0] - places[1]).abs().max() < 1.0


def test_the_surer_lens_is_used():
    measured, _, _ = camera(False)
    assert with_measured_lens(ClipPriors(), measured).focal == FOCAL
    for focal_from, error, kept in (("given", 0.0, True), ("recorded", 0.02, True), ("recorded", 0.05, False)):
        priors = ClipPriors(1.1, focal_from, error)
        assert (with_measured_lens(priors, measured) is priors) == kept
    assert with_measured_lens(ClipPriors(), dataclasses.replace(measured, focal=None)) == ClipPriors()
    assert with_measured_lens(ClipPriors(), None) == ClipPriors()
