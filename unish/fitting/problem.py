"""The cost of a person's motion in a chunk of frames, and the offsets from the network's motion that make it least."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from torch import Tensor

from unish.body.data import COCO_LIMBS, SMPL_LIMBS
from unish.fitting import terms
from unish.fitting.evidence import Evidence
from unish.fitting.settings import FitSettings
from unish.fitting.sparse_body import FEET, SparseBody
from unish.geometry.camera import project
from unish.geometry.rotations import axis_angle_to_matrix
from unish.geometry.transforms import transform_points

HINGES = ((4, 0, 1), (5, 0, 1), (18, 1, -1), (19, 1, 1))
"""Knees and elbows: joint, the axis of its parent's frame about which it bends, and to which side."""
HINGE_LIMITS_RAD = (-0.15, 2.7)
HINGE_SIGMA_RAD = 0.1
WORST = 1e30
"""Cost of what cannot be computed."""
NEAREST_M = 0.2
"""A pelvis is not taken to be nearer to the camera."""
SPACING = 0.035
"""Distance between neighbouring chosen vertices, as a share of the box's height."""
FACING = -0.2
"""Cosine of normal and ray from which on (downwards) a vertex faces the camera."""


@dataclass(frozen=True)
class Course:
    """A person's motion at some frames, metres, in each frame's camera."""

    rotations: Float[Tensor, "frames 24 3 3"]
    pelvis: Float[Tensor, "frames 3"]


@dataclass(frozen=True)
class View:
    """Cameras and times of the frames."""

    world_from_camera: Float[Tensor, "frames 4 4"]
    intrinsics: Float[Tensor, "frames 3 3"]
    times_s: Float[Tensor, "frames"]


@dataclass(frozen=True)
class Contacts:
    """Where feet stand: ends are left ankle, left ball, right ankle, right ball."""

    standing: Bool[Tensor, "frames 4"]
    averages: Float[Tensor, "4 frames frames"]
    """Matrix that takes an end's places to the mean place of the contact that each frame belongs to."""
    grounded: Bool[Tensor, "frames 2"]
    """Which foot's sole lies on the floor."""
    floor_m: Float[Tensor, "frames 2"]
    """Height of the floor under each foot."""
    held_sigma_m: float = 0.01
    sole_sigma_m: float = 0.01


@dataclass(frozen=True)
class Posed:
    """What the terms need of a posed body."""

    vertices_camera: Float[Tensor, "frames chosen 3"]
    vertices_px: Float[Tensor, "frames chosen 2"]
    facing: Bool[Tensor, "frames chosen"]
    joints_camera: Float[Tensor, "frames 24 3"]
    joints_world: Float[Tensor, "frames 24 3"]
    soles_world: Float[Tensor, "frames 2 soles 3"]


def posed(body: SparseBody, course: Course, view: View, correctives: Tensor) -> Posed:
    """The sparse body of a course, seen by its cameras."""
    orientations, places = body.skeleton(course.rotations)
    vertices, normals = body.skin(orientations, places, correctives)
    return placed(body, vertices, normals, places, course.pelvis, view)


def placed(body: SparseBody, vertices: Tensor, normals: Tensor, places: Tensor, pelvis: Tensor, view: View) -> Posed:
    """A body that is posed about its pelvis, put where the pelvis is."""
    offset = pelvis[:, None]
    vertices_camera, joints_camera = vertices + offset, places + offset
    ahead = torch.cat([vertices_camera[..., :2], vertices_camera[..., 2:].clamp(min=0.5 * NEAREST_M)], dim=-1)
    ray = vertices_camera.detach()
    facing = (normals * ray).sum(-1) < FACING * ray.norm(dim=-1)
    return Posed(
        vertices_camera=ahead,
        vertices_px=project(ahead, view.intrinsics),
        facing=facing & (vertices_camera[..., 2] > NEAREST_M),
        joints_camera=joints_camera,
        joints_world=transform_points(view.world_from_camera, joints_camera),
        soles_world=transform_points(view.world_from_camera[:, None], body.sole_vertices(vertices_camera).contiguous()),
    )


@dataclass(frozen=True)
class Problem:
    """A chunk of frames of one person."""

    body: SparseBody
    start: Course
    view: View
    evidence: Evidence
    settings: FitSettings
    surface_sigma: float
    """Relative error of the person's depth points; infinite where there are none to trust."""
    contacts: Contacts | None = None
    is_sequence: bool = True
    """Whether the frames follow one another, so that motion has a meaning."""

    def cost(self, body: Posed, rotations: Tensor | None = None) -> Tensor:
        """Sum over the frames of all terms but the prior of the offsets."""
        settings, evidence, boxes = self.settings, self.evidence, self.evidence.boxes_px
        whole = body.vertices_px
        edges, errors = evidence.edges_px, evidence.edge_errors_px
        total = terms.box_term(whole, edges, errors, boxes, evidence.edges_counted, settings.box_share).sum()
        if evidence.has_mask.any():
            outside = evidence.outside(whole)
            total = total + terms.outside_term(outside, boxes, evidence.has_mask, settings.outline_share).sum()
            total = (
                total
                + terms.coverage_term(
                    evidence.samples_px, evidence.samples_weight, whole, boxes, SPACING, settings.outline_share
                ).sum()
            )
        if self.surface_sigma < 1:
            points_z, weights = self.surface(body)
            sigma = torch.full_like(points_z[:, 0], self.surface_sigma)
            vertices_z = body.vertices_camera[..., 2]
            total = total + terms.surface_term(vertices_z, points_z, weights, sigma).sum()
            total = total + terms.order_term(vertices_z, points_z, weights, sigma).sum()
        if bool((evidence.keypoints_px[..., 2] > 0).any()):
            known = evidence.keypoints_px[:, list(COCO_LIMBS)]
            seen = project(body.joints_camera[:, list(SMPL_LIMBS)], self.view.intrinsics)
            shares = settings.keypoint_share, settings.unsure_keypoint_share
            total = total + terms.keypoint_term(seen, known[..., :2], known[..., 2], boxes, *shares).sum()
        if self.is_sequence and len(boxes) > 2:
            moving = body.joints_world if rotations is not None else body.joints_world[:, :1]
            total = total + terms.acceleration_term(moving, self.view.times_s, settings.acceleration_m_s2).sum()
        if self.contacts is not None:
            total = total + self._feet(body, self.contacts)
        if rotations is not None:
            bends = torch.stack([side * _bend(rotations[:, joint], axis) for joint, axis, side in HINGES], dim=-1)
            limits = bends.new_tensor(HINGE_LIMITS_RAD).expand(len(HINGES), 2)
            total = total + terms.limit_term(bends, limits, HINGE_SIGMA_RAD).sum()
        return total

    @torch.no_grad()
    def image_cost(self, course: Course) -> float:
        """How far a course is from what the images show, motion and feet left out."""
        alone = dataclasses.replace(self, contacts=None, is_sequence=False)
        return float(alone.cost(posed(self.body, course, self.view, self.body.correctives(self.start.rotations))))

    def surface(self, body: Posed) -> tuple[Tensor, Tensor]:
        """Depth of the person's own points where vertices are seen, and which vertices have one."""
        with torch.no_grad():
            depth = self.evidence.sampled(self.evidence.depth_m, body.vertices_px, "nearest")
            return depth, (body.facing & (depth > 0)).to(depth)

    def _feet(self, body: Posed, contacts: Contacts) -> Tensor:
        ends = body.joints_world[:, [end for foot in FEET for end in foot]]
        places = torch.einsum("enm,mec->nec", contacts.averages, ends)
        held = terms.held_term(ends, places, contacts.standing, contacts.held_sigma_m)
        heights = body.soles_world[..., 2].amin(-1) - contacts.floor_m
        return held.sum() + terms.sole_term(heights, contacts.grounded, contacts.sole_sigma_m).sum()

    # --- solving ---------------------------------------------------------------------------------------------------

    def place(self, start: Tensor | None = None) -> Course:
        """The course with its pelvis where the evidence wants it; rotations stay."""
        settings, correctives = self.settings, self.body.correctives(self.start.rotations)
        orientations, places = self.body.skeleton(self.start.rotations)
        vertices, normals = self.body.skin(orientations, places, correctives)
        root = self._root(settings.place_share, settings.depth_share)

        def cost(white: Tensor) -> Tensor:
            pelvis = moved_pelvis(self.start.pelvis, root(white))
            return self.cost(placed(self.body, vertices, normals, places, pelvis, self.view))

        first = torch.zeros_like(self.start.pelvis) if start is None else root.inverse(start)
        white = least(cost, first, settings.placement_steps)
        return Course(self.start.rotations, moved_pelvis(self.start.pelvis, root(white)))

    def refine(self, around: Course) -> Course:
        """Place and rotations together, from `around`; the prior stays that of the start."""
        settings, joints = self.settings, list(self.settings.joints)
        correctives = self.body.correctives(self.start.rotations)
        root = self._root(settings.place_share, settings.depth_share)
        share = self._pose_freedom()
        sigmas = [share * (settings.root_rad if joint == 0 else settings.rotation_rad) for joint in joints]
        turn = self._whitened(1.0, 1.0)
        scale = around.pelvis.new_tensor(sigmas)[:, None]

        def course(white: Tensor) -> Course:
            offsets = (turn(white[:, 3:]).unflatten(1, (len(joints), 3))) * scale
            turned = axis_angle_to_matrix(offsets) @ around.rotations[:, joints]
            rotations = around.rotations.clone()
            rotations[:, joints] = turned
            return Course(rotations, moved_pelvis(self.start.pelvis, root(white[:, :3])))

        def cost(white: Tensor) -> Tensor:
            moved = course(white)
            return self.cost(posed(self.body, moved, self.view, correctives), moved.rotations)

        first = torch.zeros(len(around.pelvis), 3 + 3 * len(joints)).to(around.pelvis)
        first[:, :3] = root.inverse(place_offsets(self.start.pelvis, around.pelvis))
        return course(least(cost, first, settings.refine_steps))

    def _pose_freedom(self) -> float:
        """What the errors of rotations are multiplied by: sure keypoints show how a body is posed, a box hardly."""
        confidence = self.evidence.keypoints_px[:, list(COCO_LIMBS), 2].mean(-1)
        without = 1.0 if self.evidence.has_mask.float().mean() > 0.5 else self.settings.boxes_only
        low, high = self.settings.sure_keypoints
        share = min(max((float(confidence.mean()) - low) / (high - low), 0.0), 1.0)
        return without + share * (self.settings.with_keypoints - without)

    def _root(self, place: float, depth: float) -> "_Root":
        drift = self.settings.drift_share
        return _Root(self._whitened(place, drift), self._whitened(depth, drift))

    def _whitened(self, sigma: float, drift: float) -> "Whitened":
        if not self.is_sequence:
            drift = 1e6
        return Whitened.of(self.view.times_s, sigma, drift)


@dataclass(frozen=True)
class Whitened:
    """Offsets over time as a linear map of variables whose prior is ½ Σ w²: steps in all directions cost the same."""

    factor: Float[Tensor, "frames frames"]
    """Lower factor L of the prior's precision P = L Lᵀ."""

    @staticmethod
    def of(times_s: Tensor, sigma: float, drift: float) -> "Whitened":
        """Of `terms.offset_precision`."""
        return Whitened(torch.linalg.cholesky(terms.offset_precision(times_s, sigma, drift)))

    def __call__(self, white: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor.mT, white, upper=True)

    def inverse(self, offsets: Tensor) -> Tensor:
        return self.factor.mT @ offsets


@dataclass(frozen=True)
class _Root:
    """Offsets of the pelvis: slopes x/z and y/z, and the logarithm of z."""

    across: Whitened
    along: Whitened

    def __call__(self, white: Tensor) -> Tensor:
        return torch.cat([self.across(white[:, :2]), self.along(white[:, 2:])], dim=-1)

    def inverse(self, offsets: Tensor) -> Tensor:
        return torch.cat([self.across.inverse(offsets[:, :2]), self.along.inverse(offsets[:, 2:])], dim=-1)


def _bend(rotations: Tensor, axis: int) -> Tensor:
    """By how much rotations turn about an axis, radians."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    sine = rotations[:, second, first] - rotations[:, first, second]
    return torch.atan2(sine, rotations[:, first, first] + rotations[:, second, second])


def moved_pelvis(pelvis: Float[Tensor, "frames 3"], offsets: Float[Tensor, "frames 3"]) -> Float[Tensor, "frames 3"]:
    """The pelvis after offsets of its slopes x/z, y/z and of the logarithm of its depth."""
    depth = pelvis[:, 2:].clamp(min=NEAREST_M)
    slopes = pelvis[:, :2] / depth + offsets[:, :2]
    moved = depth * offsets[:, 2:].clamp(-2, 2).exp()
    return torch.cat([slopes * moved, moved], dim=-1)


def place_offsets(pelvis: Float[Tensor, "frames 3"], moved: Float[Tensor, "frames 3"]) -> Float[Tensor, "frames 3"]:
    """The offsets that `moved_pelvis` turns into `moved`."""
    depth, after = pelvis[:, 2:].clamp(min=NEAREST_M), moved[:, 2:].clamp(min=NEAREST_M)
    return torch.cat([moved[:, :2] / after - pelvis[:, :2] / depth, (after / depth).log()], dim=-1)


def least(cost: Callable[[Tensor], Tensor], first: Tensor, steps: int) -> Tensor:
    """The whitened variables near `first` with the least cost and prior (L-BFGS, so many steps at most); `first` where
    that is no better."""

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        white = torch.from_numpy(flat).to(first).reshape(first.shape).requires_grad_()
        with torch.enable_grad():
            value = cost(white) + 0.5 * white.square().sum()
            (slope,) = torch.autograd.grad(value, white)
        if not bool(value.isfinite()):
            return WORST, np.zeros(flat.shape)
        return float(value.detach()), slope.double().cpu().numpy().ravel()

    start = first.detach().double().cpu().numpy().ravel()
    options = {"maxiter": steps, "maxfun": steps + steps // 4 + 2, "maxcor": 10, "ftol": 1e-6, "gtol": 1e-4}
    found = minimize(evaluate, start, jac=True, method="L-BFGS-B", options=options)
    if not np.isfinite(found.x).all() or found.fun >= WORST:
        return first
    return torch.from_numpy(found.x).to(first).reshape(first.shape)
