"""Somebody who goes up stairs treads on the steps that are built for it."""

import numpy as np
import pytest

from train.synthetic.climbing import CLIMB
from train.synthetic.performers import Wardrobe, perform
from unish.body import open_body

FPS = 30
FEET = ((7, 10), (8, 11))


@pytest.fixture(scope="module")
def climber():
    body = open_body()
    return body, perform(np.random.default_rng(1), Wardrobe.of(body), np.arange(90) / FPS, CLIMB)


def test_standing_soles_lie_on_their_steps(climber):
    body, person = climber
    stairs, owner = person.stairs, body.weights.argmax(1).numpy()
    way = np.array([np.cos(stairs.yaw), np.sin(stairs.yaw)])
    levels = []
    for foot in FEET:
        soles = person.vertices[:, [i for i in body.soles if owner[i] in foot]]
        middle = soles.mean(1)
        level = ((middle[:, :2] - stairs.start) @ way)[:, None] > stairs.edges_m[:-1]
        above_m = soles[..., 2].min(1) - stairs.rise_m * level.sum(1)
        standing = np.linalg.norm(np.diff(middle, axis=0), axis=1) * FPS < 0.2
        assert standing.sum() > 15
        assert np.abs(above_m[:-1][standing]).max() < 0.03 and np.abs(np.median(above_m[:-1][standing])) < 0.005
        levels += level.sum(1)[:-1][standing].tolist()
    assert max(levels) >= 3 and np.allclose(person.rotations @ person.rotations.swapaxes(-1, -2), np.eye(3), atol=1e-6)


def test_every_block_begins_where_the_last_step_ends_and_they_move_with_the_person(climber):
    _, person = climber
    blocks, edges = person.stairs.blocks(), person.stairs.edges_m
    lengths, heights = (np.array([size[axis] for _, size in blocks]) for axis in (0, 2))
    assert np.allclose(lengths, edges[-1] - edges[:-1]) and (np.diff(edges) > 0.2).all()
    assert np.allclose(np.diff(heights), person.stairs.rise_m)
    moved = person.moved(np.array([1.0, 2.0])).stairs.blocks()
    assert all(np.allclose(b[0] - a[0], [1, 2, 0]) for a, b in zip(blocks, moved, strict=True))
