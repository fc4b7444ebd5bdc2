"""People for the scenes: shape, skin and clothes of a body, and its motion placed on the floor. World z up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from train.synthetic import kinematics
from train.synthetic import shading as r
from train.synthetic.actions import STEP_S
from train.synthetic.raster import vertex_normals
from train.synthetic.renderer import Mesh
from train.synthetic.scenes import random_color
from train.synthetic.shading import ARM, HAIR, OUTFIT_COLUMNS, SHOE, SKIN, TRUNK
from unish.body import BodyModel

TONES = np.array([[0.75, 0.5, 0.38], [0.62, 0.38, 0.26], [0.45, 0.25, 0.15], [0.24, 0.12, 0.07], [0.1, 0.05, 0.03]])
HAIRS = np.array([[0.02, 0.015, 0.01], [0.06, 0.03, 0.015], [0.2, 0.1, 0.04], [0.45, 0.3, 0.12], [0.4, 0.4, 0.4]])


@dataclass(frozen=True)
class Performer:
    """One person over a clip, posed in the world: SMPL-format parameters and the vertices they give.

    `rotations` (T,24,3,3) with the root in the world, `translation` (T,3) SMPL's, `betas` (10,), `vertices`
    (T,V,3); `track` (M,2) is the pelvis over the floor on a dense timeline; `seat` is the height of the seat in
    metres or None.
    """

    betas: np.ndarray
    rotations: np.ndarray
    translation: np.ndarray
    vertices: np.ndarray
    track: np.ndarray
    outfit: np.ndarray
    seat: float | None
    heading: float

    def moved(self, offset_xy) -> Performer:
        """The same performance elsewhere on the floor."""
        shift = np.array([*offset_xy, 0.0])
        return Performer(
            self.betas, self.rotations, self.translation + shift, self.vertices + shift, self.track + shift[:2],
            self.outfit, self.seat, self.heading,
        )  # fmt: skip


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

    def mesh(self, person: int, vertices: np.ndarray) -> Mesh:
        """The posed mesh of person number `person` (0-based) for the renderer."""
        count = len(self.faces)
        return Mesh(
            vertices=vertices,
            normals=vertex_normals(vertices, self.faces),
            texture=self.template.astype(np.float32),
            faces=self.faces,
            materials=np.full(count, -1 - person, np.int32),
            objects=np.full(count, person + 1, np.int32),
            casts_shadow=np.ones(count, bool),
        )


def perform(
    rng: np.random.Generator, wardrobe: Wardrobe, times_s: np.ndarray, script: tuple[str, ...] = ()
) -> Performer:
    """A random person in a random motion, sampled at `times_s`, its pelvis starting above the world's origin.

    In every frame the lowest vertex touches the floor (z = 0); a seated body's seat height is measured from it.
    """
    body = wardrobe.body
    betas = np.clip(rng.normal(0, 1, 10), -2.5, 2.5)
    shape = torch.from_numpy(betas).float()
    rest = body.rest_joints(shape).numpy().astype(np.float64)
    sole = float(body.shaped(shape)[:, 1].min())
    action = kinematics.simulate(rng, float(times_s[-1]), rest, body.parents.numpy(), sole, script)
    at = np.clip(np.round(times_s / STEP_S).astype(int), 0, len(action.track) - 1)
    rotations = action.rotations[at]
    with torch.no_grad():
        posed = body(shape[None], torch.from_numpy(rotations).float(), torch.zeros(len(at), 3)).vertices.numpy()
    posed = posed.astype(np.float64)
    translation = np.concatenate([action.track[at] - rest[0, :2], -posed[..., 2].min(1)[:, None]], 1)
    vertices = posed + translation[:, None]
    seat = None
    if action.sitting:
        owner = body.weights.argmax(1).numpy()
        seat = float(vertices[:, np.isin(owner, (0, 1, 2)), 2].min())
    heading = float(np.arctan2(rotations[0, 0, 1, 0], rotations[0, 0, 0, 0]))
    return Performer(betas, rotations, translation, vertices, action.track, wardrobe.outfit(rng), seat, heading)


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
