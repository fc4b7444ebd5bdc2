"""Shape directions by principal components, and a regressor from vertices to joints."""

import numpy as np
from scipy.optimize import nnls

from open_body.skeleton import MIRRORED_JOINTS
from open_body.tpose import unit
from unish.body.data import JOINT_NAMES, NUM_BETAS, PARENTS


def fit_shape(bodies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (V,3), directions (V,3,10) each worth one standard deviation and growing the stature, and the
    share of the variance that they hold."""
    mean = bodies.mean(axis=0)
    _, singular, rows = np.linalg.svd((bodies - mean).reshape(len(bodies), -1), full_matrices=False)
    directions = rows[:NUM_BETAS] * (singular[:NUM_BETAS, None] / np.sqrt(len(bodies) - 1))
    directions = directions.reshape(NUM_BETAS, -1, 3)
    for direction in directions:
        if np.ptp((mean + direction)[:, 1]) < np.ptp((mean - direction)[:, 1]):
            direction *= -1
    share = float((singular[:NUM_BETAS] ** 2).sum() / (singular**2).sum())
    return mean, np.moveaxis(directions, 0, -1), share


def reconstruct(bodies: np.ndarray, mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Bodies as near as the shape directions can come."""
    basis = directions.reshape(-1, NUM_BETAS)
    flat = (bodies - mean).reshape(len(bodies), -1)
    betas = np.linalg.lstsq(basis, flat.T, rcond=None)[0]
    return mean + (basis @ betas).T.reshape(bodies.shape)


def fit_joint_regressor(
    bodies: np.ndarray, joints: np.ndarray, weights: np.ndarray, mirror: np.ndarray, seed: int
) -> np.ndarray:
    """Joints as averages of nearby vertices, (24,V): non-negative, so that it also holds on posed bodies.

    `mirror` (V,) is each vertex's partner on the other side; right joints mirror left ones.
    """
    mean, mean_joints = bodies.mean(axis=0), joints.mean(axis=0)
    rng = np.random.default_rng(seed)
    regressor = np.zeros((len(JOINT_NAMES), len(mean)))
    for joint, partner in enumerate(MIRRORED_JOINTS):
        if partner < joint:  # the right side
            regressor[joint] = regressor[partner][mirror]
            continue
        near = _candidates(joint, mean, mean_joints, weights, rng)
        regressor[joint, near] = _averaging(bodies[::3][:, near], joints[::3, joint])
        if partner == joint:
            regressor[joint] = (regressor[joint] + regressor[joint][mirror]) / 2
    return regressor


def _candidates(
    joint: int, mean: np.ndarray, joints: np.ndarray, weights: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The vertices nearest to a joint, and a slab of the limbs that meet there."""
    distance = np.linalg.norm(mean - joints[joint], axis=1)
    children = [child for child, parent in enumerate(PARENTS) if parent == joint]
    if joint == 0 or JOINT_NAMES[joint].startswith(("spine", "neck", "head")):
        axis = np.array([0.0, 1.0, 0.0])
    elif children:
        axis = unit(joints[children].mean(axis=0) - joints[joint])
    else:
        axis = unit(joints[joint] - joints[PARENTS[joint]])
    family = [joint, *children] + ([PARENTS[joint]] if joint else [])
    limb = weights[:, family].sum(axis=1) > 0.5
    slab = np.flatnonzero((np.abs((mean - joints[joint]) @ axis) < 0.07) & (distance < 0.28) & limb)
    return np.unique(np.r_[np.argsort(distance)[:120], rng.permutation(slab)[:400]])


def _averaging(vertices: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Non-negative shares adding up to one whose average of the vertices comes nearest to the target."""
    rows = vertices.transpose(0, 2, 1).reshape(-1, vertices.shape[1])
    goal = target.reshape(-1)
    heavy = 50 * np.sqrt(len(goal))
    shares, _ = nnls(np.vstack([rows, np.full(rows.shape[1], heavy)]), np.r_[goal, heavy], maxiter=20000)
    shares[shares < 2e-3] = 0
    return shares / shares.sum()
