"""People for the scenes: shape, skin and clothes of a body, and its motion placed on the floor. World z up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from train.synthetic import kinematics
from train.synthetic import shading as r
from train.synthetic.actions import STEP_S
from train.synthetic.assets import NO_ASSETS, Assets
from train.synthetic.climbing import CLIMB, RISE_M, Stairs, climb, climbing_curves
from train.synthetic.garments import Attire, GarmentLibrary
from train.synthetic.motion_library import CAPTURED_SHARE, RANDOM_SHARE, MotionLibrary, leg_length
from train.synthetic.random_poses import random_pose_curves
from train.synthetic.raster import vertex_normals
from train.synthetic.renderer import Mesh
from train.synthetic.scenes import random_color
from train.synthetic.shading import ARM, HAIR, OUTFIT_COLUMNS, SHOE, SKIN, TRUNK
from unish.body import BodyModel

TONES = np.array([[0.75, 0.5, 0.38], [0.62, 0.38, 0.26], [0.45, 0.25, 0.15], [0.24, 0.12, 0.07], [0.1, 0.05, 0.03]])
HAIRS = np.array([[0.02, 0.015, 0.01], [0.06, 0.03, 0.015], [0.2, 0.1, 0.04], [0.45, 0.3, 0.12], [0.4, 0.4, 0.4]])

TUCKED_M = 0.018
DRESSED_SHARE = 0.9
"""Chance that a person wears garments where there are any; the others' clothes are painted on."""


@dataclass(frozen=True)
class Performer:
    """One person over a clip, posed in the world: SMPL-format parameters and the vertices they give.

    `rotations` (T,24,3,3) with the root in the world, `translation` (T,3) SMPL's, `betas` (10,), `vertices`
    (T,V,3); `track` (M,2) is the pelvis over the floor on a dense timeline; `seat` is the height of the seat in
    metres or None. `attire` are garments as geometry, if any, and `attire_vertices` (T,G,3) theirs. `stairs` are what
    the person climbs.
    """

    betas: np.ndarray
    rotations: np.ndarray
    translation: np.ndarray
    vertices: np.ndarray
    track: np.ndarray
    outfit: np.ndarray
    seat: float | None
    heading: float
    attire: Attire | None = None
    attire_vertices: np.ndarray | None = None
    stairs: Stairs | None = None

    def moved(self, offset_xy) -> Performer:
        """The same performance elsewhere on the floor."""
        shift = np.array([*offset_xy, 0.0])
        return replace(
            self,
            translation=self.translation + shift,
            vertices=self.vertices + shift,
            track=self.track + shift[:2],
            attire_vertices=None if self.attire_vertices is None else self.attire_vertices + shift,
            stairs=None if self.stairs is None else replace(self.stairs, start=self.stairs.start + shift[:2]),
        )

    @property
    def painted(self) -> np.ndarray:
        """The row of the renderer's outfit table; who wears garments has none painted on the skin."""
        if self.attire is None:
            return self.outfit
        row = self.outfit.copy()
        row[29], row[30:32] = -1.0, 1e9
        row[6:9] = row[0:3]
        return row

    def silhouette(self, frame: int, body_faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vertices and faces of all that is seen of the person in a frame."""
        if self.attire is None or self.attire_vertices is None:
            return self.vertices[frame], body_faces
        vertices = np.concatenate([self.vertices[frame], self.attire_vertices[frame]])
        return vertices, np.concatenate([self.attire.body_faces, self.attire.faces + len(self.vertices[frame])])


@dataclass(frozen=True)
class Wardrobe:
    """What is the same for every person of a body: which part of the outfit each vertex wears."""

    body: BodyModel
    parts: np.ndarray
    template: np.ndarray
    faces: np.ndarray
    joints: np.ndarray

    @staticmethod
    def of(body: BodyModel) -> Wardrobe:
        """Parts from the body's regions (when it has them) and from the joint that moves each vertex most."""
        owner = body.weights.argmax(1).numpy()
        parts = np.full(len(owner), TRUNK, np.uint8)
        parts[np.isin(owner, (16, 17, 18, 19))] = ARM
        parts[np.isin(owner, (12, 15, 20, 21, 22, 23))] = SKIN
        parts[np.isin(owner, (7, 8, 10, 11))] = SHOE
        template = body.template.numpy().astype(np.float64)
        if body.regions is not None:
            regions = body.regions.numpy()
            parts[regions == 4] = HAIR
            parts[(regions == 0) & np.isin(owner, (9, 12, 13, 14))] = SKIN
            parts[(regions == 1) & (parts == SKIN)] = TRUNK
            parts[regions == 3] = SHOE
            parts[(regions != 3) & (parts == SHOE)] = TRUNK
        return Wardrobe(body, parts, template, body.faces.numpy().astype(np.int32), body.joint_template.numpy())

    def outfit(self, rng: np.random.Generator) -> np.ndarray:
        """Random skin, hair and clothes: a row of the renderer's outfit table."""
        row = np.zeros(OUTFIT_COLUMNS)
        at = rng.uniform(0, len(TONES) - 1)
        low = int(at)
        skin = TONES[low] + (at - low) * (TONES[min(low + 1, len(TONES) - 1)] - TONES[low])
        row[0:3] = skin * rng.uniform(0.85, 1.15)
        row[3:6] = HAIRS[rng.integers(0, len(HAIRS))] * rng.uniform(0.6, 1.4)
        if rng.random() < 0.06:
            row[3:6] = random_color(rng, 1.0)
        row[6:9] = random_color(rng, 0.5, 0.02, 0.8)
        for base, kinds in ((9, (0, 0, 0, r.STRIPES, r.CHECKER, r.TILES)), (19, (0, 0, 0, 0, r.STRIPES, r.CHECKER))):
            color = random_color(rng, 1.0, 0.015, 0.85)
            row[base : base + 3] = color
            row[base + 3 : base + 6] = color + rng.uniform(0.3, 1) * (random_color(rng, 1.0, 0.02, 0.85) - color)
            row[base + 6] = rng.choice(kinds)
            row[base + 7] = rng.uniform(0.03, 0.16)
            row[base + 8] = rng.uniform(0.2, 0.7) if row[base + 6] == r.STRIPES else rng.uniform(0.006, 0.02)
        if rng.random() < 0.12:  # one piece
            row[19:29] = row[9:19]
        shoulder, elbow, wrist = (abs(self.joints[j, 0]) for j in (16, 18, 20))
        hip, knee, ankle, neck = (self.joints[j, 1] for j in (1, 4, 7, 12))
        row[29] = rng.choice([shoulder, shoulder + 0.6 * (elbow - shoulder), elbow, wrist, wrist + 0.02])
        row[29] += rng.normal(0, 0.02)
        hems = [ankle - 0.1, ankle + 0.05, knee - 0.1, knee + 0.12, knee + 0.2]
        row[30] = rng.choice(hems, p=[0.4, 0.25, 0.1, 0.15, 0.1])
        row[31] = hip + rng.uniform(-0.12, 0.16)
        row[32] = neck + rng.uniform(-0.05, 0.02)
        return row

    def mesh(self, person: int, vertices: np.ndarray, attire: Attire | None = None) -> Mesh:
        """The posed mesh of person number `person` (0-based) for the renderer, without what garments hide of it."""
        faces = self.faces if attire is None else attire.body_faces
        count = len(faces)
        normals = vertex_normals(vertices, self.faces)
        if attire is not None:
            vertices = vertices - TUCKED_M * attire.covered[:, None] * normals
        return Mesh(
            vertices=vertices,
            normals=normals,
            texture=self.template.astype(np.float32),
            faces=faces,
            materials=np.full(count, -1 - person, np.int32),
            objects=np.full(count, person + 1, np.int32),
            casts_shadow=np.ones(count, bool),
        )


def perform(
    rng: np.random.Generator,
    wardrobe: Wardrobe,
    times_s: np.ndarray,
    script: tuple[str, ...] = (),
    assets: Assets = NO_ASSETS,
) -> Performer:
    """A random person in a random motion, sampled at `times_s`, its pelvis starting above the world's origin.

    Garments are drawn from a stream of their own: with a wardrobe and without it, a seed gives the same people in the
    same poses, but for the height of their soles.

    In every frame the lowest vertex touches the floor (z = 0), except for jumps of captured motion and on the stairs of
    the script `CLIMB`; the height of a seat is measured from it.
    """
    body = wardrobe.body
    betas = np.clip(rng.normal(0, 1, 10), -2.5, 2.5)
    shape = torch.from_numpy(betas).float()
    rest = body.rest_joints(shape).numpy().astype(np.float64)
    sole = float(body.shaped(shape)[:, 1].min())
    action = person_motion(rng, float(times_s[-1]), rest, body.parents.numpy(), sole, script, assets.motions)
    at = np.clip(np.round(times_s / STEP_S).astype(int), 0, len(action.track) - 1)
    rotations = action.rotations[at]
    posed = _posed(body, shape, rotations)
    outfit = wardrobe.outfit(rng)
    attire = _attire(rng.spawn(1)[0], assets.garments, outfit[3:6])
    worn = attire.pose(body, betas, rotations) if attire else None
    lowest = posed[..., 2].min(1) if worn is None else np.minimum(posed[..., 2].min(1), worn[..., 2].min(1))
    height = -lowest if action.clearance is None else action.clearance[at] - lowest
    stairs = None
    if script == CLIMB:
        rise_m = float(rng.uniform(*RISE_M))
        rotations, lift, stairs = climb(action, at, rest, body.parents.numpy(), rise_m)
        height = height + lift
        posed = _posed(body, shape, rotations)
        worn = attire.pose(body, betas, rotations) if attire else None
    translation = np.concatenate([action.track[at] - rest[0, :2], height[:, None]], 1)
    vertices = posed + translation[:, None]
    seat = None
    if action.sitting:
        owner = body.weights.argmax(1).numpy()
        seat = float(vertices[:, np.isin(owner, (0, 1, 2)), 2].min())
    heading = float(np.arctan2(rotations[0, 0, 1, 0], rotations[0, 0, 0, 0]))
    return Performer(
        betas, rotations, translation, vertices, action.track, outfit, seat, heading, attire,
        None if worn is None else worn + translation[:, None], stairs,
    )  # fmt: skip


def _attire(rng: np.random.Generator, garments: GarmentLibrary | None, hair_color: np.ndarray) -> Attire | None:
    return garments.draw(rng, hair_color) if garments and rng.random() < DRESSED_SHARE else None


@torch.no_grad()
def _posed(body: BodyModel, shape: torch.Tensor, rotations: np.ndarray) -> np.ndarray:
    """Vertices about the pelvis's rest place."""
    posed = body(shape[None], torch.from_numpy(rotations).float(), torch.zeros(len(rotations), 3))
    return posed.vertices.numpy().astype(np.float64)


def person_motion(
    rng: np.random.Generator, duration_s: float, rest, parents, sole_y: float, script: tuple[str, ...],
    motions: MotionLibrary | None,
) -> kinematics.GeneratedMotion:  # fmt: skip
    """A procedural motion, or, where there are recordings, one of them or random poses."""
    curves = climbing_curves(rng, duration_s) if script == CLIMB else None
    if motions is not None and curves is None:
        kind = rng.random()
        captured = motions.draw(rng, duration_s, leg_length(rest)) if kind < CAPTURED_SHARE else None
        if captured is not None:
            return captured
        if CAPTURED_SHARE <= kind < CAPTURED_SHARE + RANDOM_SHARE:
            curves = random_pose_curves(rng, duration_s, rest, parents)
    return kinematics.simulate(rng, duration_s, rest, parents, sole_y, script, curves)


def place(rng: np.random.Generator, performers: list[Performer], apart_m: float = 0.75) -> list[Performer]:
    """Puts people on the floor about the origin so that their tracks never come closer than `apart_m`.

    People who fit nowhere near are left out.
    """
    placed: list[Performer] = []
    for person in performers:
        middle = (person.track.min(0) + person.track.max(0)) / 2
        for attempt in range(30):
            spread = 0.0 if not placed else 0.7 + 0.08 * attempt
            moved = person.moved(rng.normal(0, 1, 2) * spread - middle)
            gaps = [np.linalg.norm(moved.track[::6, None] - other.track[None, ::6], axis=-1).min() for other in placed]
            if all(gap > apart_m for gap in gaps):
                placed.append(moved)
                break
    return placed
