"""What a camera sees of a mesh: a z-buffer in plain tensor operations."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unish.geometry.camera import pixel_centers, project

MAX_TESTS = 2**20
"""How many (face, pixel) tests are made together: a bound on memory."""
NEAR = 1e-3
"""Nearer to the camera's plane than this (metres) nothing is looked for."""
SLACK = 1e-5
"""A face reaches this much (barycentric) beyond its edges, so that no ray slips through between two faces."""


@torch.no_grad()
def visible_vertices(
    vertices_camera: Float[Tensor, "*batch vertices 3"],
    faces: Int[Tensor, "faces 3"],
    intrinsics: Float[Tensor, "*#batch 3 3"],
    height: int,
    width: int,
) -> Bool[Tensor, "*batch vertices"]:
    """Which vertices the camera sees, the mesh itself being all that can hide them.

    A vertex is seen when it belongs to a face that is the nearest one at some pixel's centre; both sides of a face
    count, and only what lies in front of the camera and inside the image. Carries no gradient: it says which
    vertices to take, and their coordinates stay differentiable. Source: UniSH (arXiv 2601.01222), stage 3.
    """
    batch, count = vertices_camera.shape[:-2], vertices_camera.shape[-2]
    vertices = vertices_camera.reshape(-1, count, 3)
    vertices = vertices if vertices.dtype == torch.float64 else vertices.float()
    cameras = intrinsics.to(vertices).expand(*batch, 3, 3).reshape(-1, 3, 3)
    with torch.autocast(device_type=vertices.device.type, enabled=False):
        frame, seen = _nearest_faces(vertices[:, faces.long()], cameras, height, width)
    visible = torch.zeros(vertices.shape[:2], dtype=torch.bool, device=vertices.device)
    visible[frame[:, None], faces.long()[seen]] = True
    return visible.reshape(*batch, count)


@torch.no_grad()
def depth_map(
    vertices_camera: Float[Tensor, "vertices 3"],
    faces: Int[Tensor, "faces 3"],
    intrinsics: Float[Tensor, "3 3"],
    height: int,
    width: int,
) -> Float[Tensor, "height width"]:
    """Depth along the camera's axis of the nearest surface at every pixel's centre; infinity where there is none."""
    return _depths(vertices_camera[faces.long()][None], intrinsics[None], height, width)[0].view(height, width)


def _nearest_faces(triangles: Tensor, cameras: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(frame, face) of every pixel's nearest face; a face comes once for each pixel that sees it."""
    nearest, (frame, face, hit, pixel, depth) = _depths(triangles, cameras, height, width)
    seen = hit[depth == nearest[pixel]]
    return frame[seen], face[seen]


def _depths(triangles: Tensor, cameras: Tensor, height: int, width: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Depth of the nearest face at every pixel of all frames, and what it is from: the frame and the number of every
    face in view, and all meetings of faces with rays, as `_hits` gives them."""
    first, last = _pixel_boxes(triangles, cameras, height, width)
    frame, face = (last >= first).all(-1).nonzero(as_tuple=True)
    pixels = pixel_centers(height, width, triangles.dtype, triangles.device).flatten(0, 1)
    rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], dim=-1) @ torch.linalg.inv(cameras).mT
    hit, pixel, depth = _hits(triangles[frame, face], first[frame, face], last[frame, face], frame, rays, width)
    far = depth.new_full((len(cameras) * height * width,), torch.inf)
    return far.scatter_reduce(0, pixel, depth, "amin"), (frame, face, hit, pixel, depth)


def _pixel_boxes(triangles: Tensor, cameras: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """First and last (column, row) whose centre a face can cover; last < first where there is none.

    A face that crosses the camera's plane has no bounded image, so it is cut a little in front of it.
    """
    ahead = triangles.roll(-1, dims=-2)
    z, z_ahead = triangles[..., 2], ahead[..., 2]
    crosses = (z > NEAR) != (z_ahead > NEAR)
    share = torch.where(crosses, (NEAR - z) / (z_ahead - z), 0.0)
    cuts = triangles + share[..., None] * (ahead - triangles)
    outline = torch.cat([triangles, cuts], dim=-2)
    counts = torch.cat([z > NEAR, crosses], dim=-1)[..., None]
    px = project(outline, cameras[:, None])
    counts = counts & px.isfinite()
    limit = torch.tensor([width - 1, height - 1], device=px.device)
    low = (px.where(counts, torch.inf).amin(-2) - 0.5 - 1e-3).ceil().clamp(min=0 * limit, max=limit + 1)
    high = (px.where(counts, -torch.inf).amax(-2) - 0.5 + 1e-3).floor().clamp(min=0 * limit - 1, max=limit)
    return low.long(), high.long()


def _hits(
    triangles: Tensor, first: Tensor, last: Tensor, frame: Tensor, rays: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Every meeting of a pixel's ray (z = 1) with a triangle in its box: triangle, pixel of all frames, depth.

    With corner p, edges e, f and a ray d: p + u·e + v·f = z·d (Möller and Trumbore), solved by Cramer's rule.
    """
    p, e, f = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    normal = torch.linalg.cross(e, f, dim=-1)
    forms = torch.stack([normal, torch.linalg.cross(f, p, dim=-1), torch.linalg.cross(p, e, dim=-1)], dim=1)
    plane = (normal * p).sum(-1)
    columns, rows = (last - first + 1).unbind(-1)
    tests = columns * rows
    ends = tests.cumsum(0)
    hits = []
    total = int(ends[-1]) if len(ends) else 0
    for start in range(0, total, MAX_TESTS):
        test = torch.arange(start, min(start + MAX_TESTS, total), device=ends.device)
        face = torch.searchsorted(ends, test, right=True)
        inside = test - (ends - tests)[face]
        column = first[face, 0] + inside % columns[face]
        row = first[face, 1] + inside // columns[face]
        pixel = row * width + column
        across, u, v = (forms[face] @ rays[frame[face], pixel][..., None])[..., 0].unbind(-1)
        u, v, z = u / across, v / across, plane[face] / across
        hit = (u >= -SLACK) & (v >= -SLACK) & (u + v <= 1 + SLACK) & (z > 0)
        hits.append((face[hit], (frame[face] * rays.shape[1] + pixel)[hit], z[hit]))
    empty = frame.new_zeros(0)
    faces, pixels, depths = zip(*hits, strict=True) if hits else ([empty], [empty], [rays.new_zeros(0)])
    return torch.cat(faces), torch.cat(pixels), torch.cat(depths)
