"""A body of one shape reduced to a few vertices: what a fit poses many times."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from unish.body import BodyModel
from unish.body.lbs import pose_features

SOLE_VERTICES = 16
"""Of each foot."""
SOLE_BAND_M = 0.02
"""Vertices so close to the lowest one of the T-pose are soles where a body names none."""
FEET = ((7, 10), (8, 11))
"""Ankle and ball, left then right."""


@dataclass(frozen=True)
class SparseBody:
    """Chosen vertices of a shaped body in its T-pose, metres; the soles come last, left before right."""

    index: Int[Tensor, "chosen"]
    """Of the body's vertices."""
    soles: int
    """How many of them, on each foot."""
    template: Float[Tensor, "chosen 3"]
    normals: Float[Tensor, "chosen 3"]
    weights: Float[Tensor, "chosen 24"]
    rest_joints: Float[Tensor, "24 3"]
    pose_directions: Float[Tensor, "chosen 3 207"] | None
    levels: tuple[tuple[Int[Tensor, "_"], Int[Tensor, "_"]], ...]
    """Joints that are as far from the root as each other, and their parents' places in the level above."""
    order: Int[Tensor, "24"]
    """Places of the joints in the levels one after the other."""

    @staticmethod
    def of(body: BodyModel, betas: Float[Tensor, "10"], vertices: int, device: torch.device | str) -> "SparseBody":
        """`vertices` spread evenly over the body, and its soles."""
        template = body.shaped(betas.cpu())
        soles = _soles(body)
        index = torch.cat([spread_points(template, vertices), *soles])
        levels = _levels([int(parent) for parent in body.parents])
        order = torch.cat([joints for joints, _ in levels]).argsort()
        directions = None if body.pose_directions is None else body.pose_directions[index].to(device)
        return SparseBody(
            index=index.to(device),
            soles=len(soles[0]),
            template=template[index].to(device),
            normals=_normals(template, body.faces.long())[index].to(device),
            weights=body.weights[index].to(device),
            rest_joints=body.rest_joints(betas.cpu()).to(device),
            pose_directions=directions,
            levels=tuple((joints.to(device), parents.to(device)) for joints, parents in levels),
            order=order.to(device),
        )

    def correctives(self, rotations: Float[Tensor, "frames 24 3 3"]) -> Float[Tensor, "#frames chosen 3"]:
        """What the pose adds to the T-pose; taken once, at the network's pose."""
        if self.pose_directions is None:
            return torch.zeros_like(self.template)[None]
        return torch.einsum("vcp,fp->fvc", self.pose_directions, pose_features(rotations))

    def skeleton(
        self, rotations: Float[Tensor, "frames 24 3 3"]
    ) -> tuple[Float[Tensor, "frames 24 3 3"], Float[Tensor, "frames 24 3"]]:
        """Orientations of the joints and their places relative to the pelvis, in the frame of the root's rotation."""
        joints, _ = self.levels[0]
        orientation, place = rotations[:, joints], rotations.new_zeros(len(rotations), 1, 3)
        orientations, places, above = [orientation], [place], joints
        for joints, parents in self.levels[1:]:
            bone = self.rest_joints[joints] - self.rest_joints[above[parents]]
            held = orientation.index_select(1, parents)
            place = place.index_select(1, parents) + (held @ bone[..., None])[..., 0]
            orientation = held @ rotations.index_select(1, joints)
            orientations.append(orientation)
            places.append(place)
            above = joints
        return (
            torch.cat(orientations, dim=1).index_select(1, self.order),
            torch.cat(places, dim=1).index_select(1, self.order),
        )

    def skin(
        self,
        orientations: Float[Tensor, "frames 24 3 3"],
        places: Float[Tensor, "frames 24 3"],
        correctives: Float[Tensor, "#frames chosen 3"],
    ) -> tuple[Float[Tensor, "frames chosen 3"], Float[Tensor, "frames chosen 3"]]:
        """Vertices relative to the pelvis, and their normals."""
        moves = places - (orientations @ self.rest_joints[..., None])[..., 0]
        turn = (self.weights @ orientations.flatten(2)).unflatten(2, (3, 3))
        vertices = (turn @ (self.template + correctives)[..., None])[..., 0] + self.weights @ moves
        with torch.no_grad():
            normals = (turn @ self.normals[..., None])[..., 0]
        return vertices, normals

    def sole_vertices(self, vertices: Float[Tensor, "frames chosen 3"]) -> Float[Tensor, "frames 2 soles 3"]:
        """Those of the soles, left and right."""
        return vertices[:, -2 * self.soles :].unflatten(1, (2, self.soles))


def spread_points(points: Float[Tensor, "points 3"], count: int) -> Int[Tensor, "count"]:
    """Indices of points that are far from each other (farthest-point sampling from the highest one)."""
    chosen = [int(points[:, 1].argmax())]
    distance = (points - points[chosen[0]]).square().sum(-1)
    for _ in range(min(count, len(points)) - 1):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(-1))
    return torch.tensor(chosen)


def sole_vertices(body: BodyModel) -> list[Int[Tensor, "_"]]:
    """The vertices under the left and under the right foot."""
    template, owner = body.template, body.weights.argmax(1)
    marked = torch.tensor(body.soles, dtype=torch.long)
    feet = []
    for ends in FEET:
        of_foot = torch.isin(owner, torch.tensor(ends))
        if len(marked):
            under = marked[of_foot[marked]]
        else:
            lowest = template[of_foot, 1].min() if of_foot.any() else template[:, 1].min()
            under = torch.nonzero(of_foot & (template[:, 1] < lowest + SOLE_BAND_M))[:, 0]
        feet.append(under if len(under) else template[:, 1].argsort()[:SOLE_VERTICES])
    return feet


def _soles(body: BodyModel) -> list[Int[Tensor, "_"]]:
    """Equally many of them for both feet, evenly spread."""
    feet = [under[spread_points(body.template[under], SOLE_VERTICES)] for under in sole_vertices(body)]
    count = min(len(foot) for foot in feet)
    return [foot[:count] for foot in feet]


def _levels(parents: list[int]) -> list[tuple[Tensor, Tensor]]:
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents[1:], start=1):
        depth[joint] = depth[parent] + 1
    levels, above = [], [-1]
    for level in range(max(depth) + 1):
        joints = [joint for joint, at in enumerate(depth) if at == level]
        levels.append((torch.tensor(joints), torch.tensor([above.index(parents[joint]) for joint in joints])))
        above = joints
    return levels


def _normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals of a mesh's vertices."""
    corners = vertices[faces].double()
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    total = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(total, faces[:, corner].numpy(), across.numpy())
    normals = torch.from_numpy(total).to(vertices)
    return normals / normals.norm(dim=-1, keepdim=True).clamp(min=1e-12)
