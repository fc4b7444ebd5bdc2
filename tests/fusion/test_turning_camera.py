"""Cameras that turn and zoom on the spot, from features whose places are known and from rendered frames."""

import dataclasses

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from unish.fusion import structure_from_motion
from unish.fusion import turning_camera as module
from unish.fusion.structure_from_motion import map_clip
from unish.fusion.turning_camera import (
    SharedFeatures,
    TurningCamera,
    _linearized,
    standing_camera,
    turning_camera,
)
from unish.structures import Clip

FRAMES, FOCAL = 10, 1.6
NOISE = 0.001
"""Of features, half diagonals: half a pixel of 800."""


def panned(degrees: float = 40.0) -> np.ndarray:
    """camera_from_world rotations of a pan that also nods and rolls a little."""
    share = np.linspace(0, 1, FRAMES)
    angles = np.stack([share * degrees, 4 * np.sin(6 * share), 2 * np.cos(5 * share)], axis=1)
    return Rotation.from_euler("yxz", angles, degrees=True).as_matrix()


def shared(camera_from_world: np.ndarray, focal: np.ndarray, centres: np.ndarray | None = None) -> SharedFeatures:
    """What frames a few steps apart see of points all around, with noise and one wrong match in ten."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(6000, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True) * random.uniform(3, 9, (6000, 1))
    centres = np.zeros((FRAMES, 3)) if centres is None else centres
    in_camera = np.einsum("fij,fpj->fpi", camera_from_world, points[None] - centres[:, None])
    uv = focal[:, None, None] * in_camera[..., :2] / np.maximum(in_camera[..., 2:], 1e-6)
    seen = (in_camera[..., 2] > 0.1) & (np.abs(uv) < [0.85, 0.5]).all(-1)
    parts = []
    for step in (1, 2, 4):
        for first in range(FRAMES - step):
            both = np.flatnonzero(seen[first] & seen[first + step])[:40]
            ends = [uv[k, both] + NOISE * random.normal(size=(len(both), 2)) for k in (first, first + step)]
            wrong = random.random(len(both)) < 0.1
            ends[1][wrong] = random.uniform(-0.5, 0.5, (wrong.sum(), 2))
            parts.append((np.full(len(both), first), np.full(len(both), first + step), *ends))
    return SharedFeatures(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def relative(rotations: np.ndarray) -> np.ndarray:
    return rotations @ rotations[0].T


def degrees_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.degrees(Rotation.from_matrix(first @ second.swapaxes(1, 2)).magnitude())


CONSTANT = np.full(FRAMES, FOCAL)
NUMBERS = np.arange(FRAMES)


def test_a_pan_tells_its_lens_and_its_turns():
    found = turning_camera(shared(panned(), CONSTANT), NUMBERS)
    assert found is not None and not found.zooms and found.focal is not None
    assert abs(np.log(found.focal / FOCAL)) < min(0.05, 3 * found.focal_log_error)
    turns = found.at(found.focal, FRAMES)
    assert turns.registered.all() and (turns.world_from_camera[:, :3, 3] == 0).all()
    camera_from_world = turns.world_from_camera[:, :3, :3].swapaxes(1, 2)
    assert degrees_between(relative(camera_from_world), relative(panned())).max() < 0.02 * 40


def test_a_zoom_is_told_from_travel_and_followed():
    zoom = FOCAL * np.exp(np.linspace(-0.3, 0.3, FRAMES))
    found = turning_camera(shared(panned(), zoom), NUMBERS)
    assert found is not None and found.zooms and found.focal is not None
    assert abs(np.log(found.focal / FOCAL)) < min(0.05, 3 * found.focal_log_error)
    turns = found.at(FOCAL, FRAMES)
    assert np.abs(np.log(turns.focal / zoom)).max() < 0.03


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (0.3, 0.1, 1.0)], ids=["sideways", "ahead"])
def test_a_camera_that_travels_is_none(direction):
    centres = np.linspace(0, 0.5, FRAMES)[:, None] * np.array(direction)
    assert turning_camera(shared(panned(), CONSTANT, centres), NUMBERS) is None
    assert turning_camera(shared(panned(10.0), CONSTANT, centres), NUMBERS) is None


def test_a_given_lens_is_not_measured_again():
    features = shared(panned(), CONSTANT)
    found = turning_camera(features, NUMBERS, focal=FOCAL, focal_is_exact=True)
    assert found is not None and found.focal is None
    assert turning_camera(features, NUMBERS, focal=2.5 * FOCAL, focal_is_exact=True) is None or (
        turning_camera(features, NUMBERS, focal=2.5 * FOCAL, focal_is_exact=True).zooms
    ), "another lens does not explain the pan"


@pytest.mark.parametrize("zooms", [False, True])
def test_a_camera_that_does_not_turn_does_not_tell_its_lens(zooms):
    focal = CONSTANT * np.exp(0.2 * zooms * np.linspace(-1, 1, FRAMES))
    found = turning_camera(shared(panned(0.0)[:1].repeat(FRAMES, 0), focal), NUMBERS)
    assert found is not None and found.focal is None and found.zooms == zooms
    assert np.abs(np.log(found.at(FOCAL, FRAMES).focal / focal)).max() < 0.02


def test_frames_between_and_frames_that_nothing_ties():
    features = shared(panned(), CONSTANT)
    kept = (features.first != 4) & (features.second != 4)
    features = SharedFeatures(*(getattr(features, name)[kept] for name in SharedFeatures.__dataclass_fields__))
    found = turning_camera(features, 3 * NUMBERS)
    assert found is not None and found.focal is not None
    turns = found.at(found.focal, 3 * FRAMES)
    np.testing.assert_array_equal(np.flatnonzero(turns.registered), 3 * NUMBERS[NUMBERS != 4])
    assert turns.focal == pytest.approx(found.focal)
    few = SharedFeatures(*(getattr(features, name)[:20] for name in SharedFeatures.__dataclass_fields__))
    assert turning_camera(few, NUMBERS) is None and standing_camera(few, NUMBERS) is None


def test_the_derivative_is_that_of_finite_differences():
    features, rotations = shared(panned(), CONSTANT), panned()
    log_focal, basis = np.log(CONSTANT) + 0.1 * np.sin(NUMBERS), np.eye(FRAMES)
    residuals, jacobian = _linearized(features, rotations, log_focal, basis)
    random, small = np.random.default_rng(1), 1e-6
    step = random.normal(size=4 * FRAMES)
    turns = Rotation.from_rotvec(small * step[: 3 * FRAMES].reshape(FRAMES, 3)).as_matrix()
    moved, _ = _linearized(features, turns @ rotations, log_focal + small * step[3 * FRAMES :], basis)
    np.testing.assert_allclose(((moved - residuals) / small).ravel(), jacobian @ step, rtol=1e-3, atol=1e-4)


# --- frames ----------------------------------------------------------------------------------------------------------


def filmed(camera_from_world: np.ndarray, focal: np.ndarray, size: tuple[int, int] = (400, 300)) -> Clip:
    """Frames of a camera that turns in front of a wall so far away that it is its horizon."""
    random = np.random.default_rng(2)
    wall = cv2.resize(
        random.integers(0, 256, (150, 300, 3), dtype=np.uint8), (2400, 1200), interpolation=cv2.INTER_CUBIC
    )
    wall = cv2.GaussianBlur(wall, (0, 0), 2)
    half_diagonal_px = float(np.hypot(*size)) / 2
    wall_from_direction = np.array([[600.0, 0, 1200], [0, 600, 600], [0, 0, 1]])
    frames = []
    for rotation, f in zip(camera_from_world, focal, strict=True):
        direction_from_pixel = np.linalg.inv(
            np.array(
                [[f * half_diagonal_px, 0, size[0] / 2 - 0.5], [0, f * half_diagonal_px, size[1] / 2 - 0.5], [0, 0, 1]]
            )
            @ rotation
        )
        frames.append(
            cv2.warpPerspective(
                wall, wall_from_direction @ direction_from_pixel, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            )
        )
    return Clip(np.stack(frames), np.arange(len(frames)) / 6, 6.0, "pan", size)


def test_rendered_frames_of_a_pan_have_a_camera_instead_of_a_map():
    found = map_clip(filmed(panned(30.0), CONSTANT), ())
    assert isinstance(found, TurningCamera) and not found.zooms
    assert abs(np.log(found.focal / FOCAL)) < min(0.06, 3 * found.focal_log_error)


def test_rendered_frames_of_a_zoom_have_a_camera_that_zooms():
    zoom = FOCAL * np.exp(np.linspace(-0.2, 0.2, FRAMES))
    found = map_clip(filmed(panned(25.0), zoom), ())
    assert isinstance(found, TurningCamera) and found.zooms
    assert np.abs(np.log(found.at(FOCAL, FRAMES).focal / zoom)).max() < 0.03


def test_a_hand_that_shakes_is_followed_without_colmap(monkeypatch):
    monkeypatch.setattr(structure_from_motion, "_findings", lambda *arguments: pytest.fail("COLMAP was asked"))
    shaken = Rotation.from_rotvec(0.001 * np.random.default_rng(3).normal(size=(FRAMES, 3))).as_matrix()
    found = map_clip(filmed(shaken, CONSTANT), ())
    assert isinstance(found, TurningCamera) and found.focal is None
    turns = found.at(FOCAL, FRAMES)
    camera_from_world = turns.world_from_camera[:, :3, :3].swapaxes(1, 2)
    assert degrees_between(relative(camera_from_world), relative(shaken)).max() < 0.05


def test_a_tripod_does_not_move_at_all():
    wall = filmed(np.tile(np.eye(3), (FRAMES, 1, 1)), CONSTANT)
    noise = np.random.default_rng(4).normal(scale=3, size=wall.frames.shape)
    noisy = dataclasses.replace(wall, frames=(wall.frames + noise).clip(0, 255).astype(np.uint8))
    found = map_clip(noisy, ())
    assert isinstance(found, TurningCamera)
    np.testing.assert_allclose(
        found.at(FOCAL, FRAMES).world_from_camera, np.tile(np.eye(4), (FRAMES, 1, 1)), atol=1e-12
    )


def test_a_search_that_gets_nearer_for_long_does_not_break_off(monkeypatch):
    """The world may be turned at will, which nothing but the damping holds: without it the equations are singular."""
    solve, conditions = np.linalg.solve, []

    def recorded(matrix, right):
        conditions.append(np.linalg.cond(matrix))
        return solve(matrix, right)

    monkeypatch.setattr(np.linalg, "solve", recorded)
    costs = iter(0.9 ** np.arange(200))
    monkeypatch.setattr(module, "_cost", lambda residuals: float(next(costs)))
    found = module._solved(shared(panned(), CONSTANT), np.ones(FRAMES, bool), FOCAL, zooms=False, is_free=True)
    assert len(conditions) == module.ROUNDS and max(conditions) < 1e13
    turns = degrees_between(relative(found.camera_from_world), relative(panned()))
    assert turns.max() < 0.5 and abs(found.log_focal[0] - np.log(FOCAL)) < 0.02
