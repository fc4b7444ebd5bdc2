"""A z-buffer renderer for one CPU core: triangles, procedural textures, one shadow-casting light.

Everything is a triangle mesh. A frame is rasterised twice at the output size, once with the samples at the pixel
centres and once at the pixel corners; depth and masks come from the centres alone, so they are exact at (j+1/2,
i+1/2), and colour is the quincunx mean of both (half the centre, an eighth of each corner), which smooths edges.
Corners inside a surface take the mean of their pixels instead of being shaded.

World: z up, metres. Camera: OpenCV (x right, y down, z forward). Colours are linear until the tone curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.synthetic.backdrops import Backdrop
from train.synthetic.painting import FabricTable, paint_backdrop, paint_fabrics
from train.synthetic.raster import FAR, NEAR_M, rasterise, rasterise_shadow, to_camera
from train.synthetic.shading import OUTFIT_COLUMNS, develop, fill_smooth_corners, noise_pyramid, shade

SHADOW_TEXELS = 1024
SHADOW_SPAN_M = 16.0
METERED_GREY = 0.24


@dataclass(frozen=True)
class Mesh:
    """Triangles with per-vertex world normals and texture coordinates.

    `materials` is a row of the material table for each face; for the faces of a person it is -1 - the row of the
    person's outfit, and `texture` holds the template position instead of (u, v, 0). `objects` is 0 for the static
    world and p + 1 for person p. Faces with `casts_shadow` False let the light through (walls of a room, the sky).
    """

    vertices: np.ndarray
    normals: np.ndarray
    texture: np.ndarray
    faces: np.ndarray
    materials: np.ndarray
    objects: np.ndarray
    casts_shadow: np.ndarray

    @staticmethod
    def join(meshes: list[Mesh]) -> Mesh:
        """All meshes as one, with face indices shifted."""
        starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
        faces = np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)])
        names = ("vertices", "normals", "texture", "materials", "objects", "casts_shadow")
        rest = {name: np.concatenate([getattr(mesh, name) for mesh in meshes]) for name in names}
        return Mesh(faces=faces.astype(np.int32), **rest)


@dataclass(frozen=True)
class Light:
    """One light with shadows, a fill light without, ambient light and the sky, in linear colour.

    `direction` points from the scene to the light (world). `lamp` is a place whose distance dims the light
    (x, y, z, half distance); a half distance of 0 means sunlight, which does not fade.
    """

    direction: np.ndarray
    color: np.ndarray
    fill_direction: np.ndarray
    fill_color: np.ndarray
    ambient: np.ndarray
    lamp: np.ndarray
    sky: np.ndarray  # (3, 3): horizon, zenith, clouds


@dataclass(frozen=True)
class Tone:
    """What the camera does to light: exposure, gamma, vignetting, blur (pixels) and noise."""

    exposure: float = 1.0
    gamma: float = 2.2
    vignette: float = 0.0
    blur_px: float = 0.0
    noise: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Frame:
    """One rendered frame: image (H,W,3) uint8, depth_m (H,W) float32 with 0 = no surface, objects (H,W) uint8."""

    image: np.ndarray
    depth_m: np.ndarray
    objects: np.ndarray


class Renderer:
    """Renders the frames of one clip: a static world, a light, and people whose meshes change each frame.

    `materials` (rows, MATERIAL_COLUMNS) and `outfits` (people, OUTFIT_COLUMNS) are explained in `shading.py`.
    `focus` is the middle of the area that gets shadows (world). The static world's shadow map is made once. `fabrics`
    tells which materials are cloth, `backdrop` is seen where nothing else is, instead of the sky.
    """

    def __init__(
        self, static: Mesh, materials, outfits, light: Light, tone: Tone, focus, rng: np.random.Generator,
        fabrics: FabricTable | None = None, backdrop: Backdrop | None = None,
    ):  # fmt: skip
        self.static, self.light, self.tone = static, light, tone
        self.fabrics, self.backdrop = fabrics, backdrop
        self.materials = np.ascontiguousarray(materials, np.float32)
        self.outfits = np.ascontiguousarray(outfits, np.float64).reshape(-1, OUTFIT_COLUMNS)
        self.pyramid, self.starts = noise_pyramid(rng)
        self.focus = np.asarray(focus, np.float64)
        forward = -light.direction
        side = np.cross(forward, [0.0, 0.0, 1.0] if abs(forward[2]) < 0.95 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        self.axes = np.stack([side, np.cross(forward, side), forward])
        self.shadow_scale = SHADOW_TEXELS / SHADOW_SPAN_M
        self.shadow = np.full((SHADOW_TEXELS, SHADOW_TEXELS), FAR, np.float32)
        self._cast(static, self.shadow)
        self.lut = (np.linspace(0, 1, 4096) ** (1.0 / tone.gamma) * 255).astype(np.float32)
        self.grain = (rng.standard_normal((257, 1021)) * tone.noise * 255).astype(np.float32)
        self.rng = rng
        self.exposure: float | None = None

    def _cast(self, mesh: Mesh, shadow: np.ndarray) -> None:
        rasterise_shadow(mesh.vertices, mesh.faces, mesh.casts_shadow, self.axes, self.focus, self.shadow_scale, shadow)

    def render(self, people: list[Mesh], parts, intrinsics, world_from_camera, width: int, height: int) -> Frame:
        """One frame. `parts` holds a body part for each vertex of `people` joined (see `performers.py`)."""
        mesh = Mesh.join([self.static, *people])
        parts = np.concatenate([np.zeros(len(self.static.vertices), np.uint8), *parts])
        shadow = self.shadow.copy()
        for person in people:
            self._cast(person, shadow)
        rotation = np.ascontiguousarray(world_from_camera[:3, :3].T)
        eye = np.ascontiguousarray(world_from_camera[:3, 3])
        points = to_camera(mesh.vertices, rotation, -rotation @ eye)
        fx, fy, cx, cy = (float(intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
        grids = []
        light = self.light
        for shift, extra in ((0.5, 0), (0.0, 1)):
            depth = np.full((height + extra, width + extra), FAR, np.float32)
            ids = np.full(depth.shape, -1, np.int32)
            rasterise(points, mesh.faces, fx, fy, cx - shift, cy - shift, 0, depth, ids)
            colors = np.empty((*depth.shape, 3), np.float32)
            skip = np.zeros(depth.shape, bool)
            if grids:
                near, numbers, pixels = grids[0]
                skip = fill_smooth_corners(
                    near, numbers, pixels, depth, ids, mesh.faces, mesh.normals, mesh.materials, colors
                )
            shade(
                depth, ids, points, mesh.normals, mesh.texture, parts, mesh.faces, mesh.materials, self.materials,
                self.outfits, self.pyramid, self.starts, rotation, eye, fx, fy, cx - shift, cy - shift,
                light.direction, light.color, light.fill_direction, light.fill_color, light.ambient, light.lamp,
                light.sky, shadow, self.axes, self.focus, self.shadow_scale, skip, colors,
            )  # fmt: skip
            if self.fabrics is not None:
                paint_fabrics(
                    depth, ids, points, mesh.texture, mesh.faces, mesh.materials, self.fabrics.rows,
                    self.fabrics.levels, self.fabrics.periods_m, fx, fy, cx - shift, cy - shift, skip, colors,
                )  # fmt: skip
            if self.backdrop is not None:
                photo, turn, field, middle, around = self.backdrop.arguments()
                paint_backdrop(
                    ids, rotation, fx, fy, cx - shift, cy - shift, photo, turn, field, middle, around, skip, colors
                )
            grids.append((depth, ids, colors))
        (depth, ids, colors), (_, _, corners) = grids
        if self.tone.blur_px > 0:
            colors, corners = (cv2.GaussianBlur(item, (0, 0), self.tone.blur_px) for item in (colors, corners))
        if self.exposure is None:  # metered once, on the first frame, as a phone locks its exposure
            self.exposure = self.tone.exposure * METERED_GREY / float(np.clip(colors.mean(), 0.03, 1.0))
        image = np.empty((height, width, 3), np.uint8)
        row, col = (int(n) for n in self.rng.integers(0, 1000, 2))
        tint = np.asarray(self.tone.tint, np.float32)
        develop(colors, corners, self.exposure, self.tone.vignette, self.lut, self.grain, row, col, tint, image)
        objects = np.where(ids >= 0, mesh.objects[np.maximum(ids, 0)], 0).astype(np.uint8)
        return Frame(image=image, depth_m=np.where(ids >= 0, depth, 0).astype(np.float32), objects=objects)


def coverage(vertices_camera, faces, intrinsics, step_px: float = 2.0) -> float:
    """Area in square pixels of a mesh seen alone on an endless image plane, counted every `step_px` pixels."""
    z = vertices_camera[:, 2]
    if z.min() <= NEAR_M:
        return 0.0
    fx, fy = intrinsics[0, 0] / step_px, intrinsics[1, 1] / step_px
    u, v = fx * vertices_camera[:, 0] / z, fy * vertices_camera[:, 1] / z
    width, height = (int(np.ceil(np.ptp(axis))) + 2 for axis in (u, v))
    if width * height > 4_000_000:
        return coverage(vertices_camera, faces, intrinsics, step_px * 4)
    depth = np.full((height, width), FAR, np.float32)
    ids = np.full(depth.shape, -1, np.int32)
    rasterise(vertices_camera.astype(np.float64), faces, fx, fy, 1.0 - u.min(), 1.0 - v.min(), 0, depth, ids)
    return float((ids >= 0).sum()) * step_px**2
