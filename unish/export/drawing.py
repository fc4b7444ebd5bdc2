"""Drawing meshes, points and lines into an image with depth, on the CPU: no OpenGL, no window.

Pixel (0, 0) has its middle at (½, ½); depth is metres along the camera's axis.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from scipy.sparse import csr_matrix

NEAREST_M = 0.05
_SUBPIXEL_BITS = 4
_LEAST_SHADE = 0.35
_EVENED_RINGS = 5


@dataclass(frozen=True)
class Canvas:
    """An image, how far away what it shows is, and the camera that sees it. Drawing changes the arrays."""

    rgb: UInt8[np.ndarray, "height width 3"]
    depth_m: Float32[np.ndarray, "height width"]
    """Infinite where nothing is."""
    intrinsics: Float[np.ndarray, "3 3"]


def draw_mesh(
    canvas: Canvas,
    vertices_camera: Float[np.ndarray, "vertices 3"],
    faces: Int[np.ndarray, "faces 3"],
    color: tuple[int, int, int],
) -> None:
    """A closed mesh, lit from the camera, where it is nearer than what the canvas shows. The light is evened out over
    neighbouring faces, so that it shows a figure and not its anatomy."""
    corners = vertices_camera[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = corners.mean(axis=1)
    lengths = np.linalg.norm(normals, axis=-1) * np.linalg.norm(middle, axis=-1)
    towards = -(normals * middle).sum(-1) / np.maximum(lengths, 1e-12)
    shown = np.flatnonzero((towards > 0) & (corners[..., 2] > NEAREST_M).all(-1))
    if not len(shown):
        return
    shown = shown[np.argsort(-middle[shown, 2], kind="stable")]  # the nearest last
    pixels = _pixels(corners[shown].reshape(-1, 3), canvas.intrinsics).reshape(-1, 3, 2)
    area = _area_of(pixels.reshape(-1, 2), canvas)
    if area is None:
        return
    rows, columns = area
    fine = _fixed_point(pixels - [columns.start, rows.start])
    ahead = middle[shown] / np.linalg.norm(middle[shown], axis=-1, keepdims=True)
    lit = -(_evened_normals(normals, faces, len(vertices_camera))[shown] * ahead).sum(-1).clip(max=0)
    shades = np.concatenate([np.outer(_LEAST_SHADE + (1 - _LEAST_SHADE) * lit, color), middle[shown, 2:]], 1)
    drawn = np.full((rows.stop - rows.start, columns.stop - columns.start, 4), np.inf, np.float32)
    for triangle, shade in zip(fine, shades.tolist(), strict=True):
        cv2.fillConvexPoly(drawn, triangle, shade, cv2.LINE_8, shift=_SUBPIXEL_BITS)
    nearer = drawn[..., 3] < canvas.depth_m[rows, columns]
    picture = canvas.rgb[rows, columns]
    picture[nearer] = drawn[nearer][:, :3].round().astype(np.uint8)
    canvas.depth_m[rows, columns][nearer] = drawn[nearer][:, 3]


def _evened_normals(
    normals: Float[np.ndarray, "faces 3"], faces: Int[np.ndarray, "faces 3"], vertices: int
) -> Float[np.ndarray, "faces 3"]:
    """Unit normals of faces, each the mean of those in some rings around it, larger ones counting more."""
    faces_of = _faces_of_vertices(np.ascontiguousarray(faces, np.int32).tobytes(), vertices)
    evened = normals
    for _ in range(_EVENED_RINGS):
        evened = faces_of.T @ (faces_of @ evened)
    return evened / np.maximum(np.linalg.norm(evened, axis=-1, keepdims=True), 1e-12)


@functools.lru_cache(maxsize=2)
def _faces_of_vertices(faces: bytes, vertices: int) -> csr_matrix:
    """(vertices, faces), one where a vertex is a face's corner; `faces` are int32, three each."""
    corners = np.frombuffer(faces, np.int32)
    return csr_matrix((np.ones(len(corners)), (corners, np.arange(len(corners)) // 3)), (vertices, len(corners) // 3))


def draw_points(
    canvas: Canvas,
    points_camera: Float[np.ndarray, "points 3"],
    colors: UInt8[np.ndarray, "points 3"],
    size_px: int,
) -> None:
    """Points as squares of `size_px`, where they are nearer than what the canvas shows."""
    ahead = points_camera[:, 2] > NEAREST_M
    points, colors = points_camera[ahead], colors[ahead]
    corner = np.floor(_pixels(points, canvas.intrinsics) - 0.5 * (size_px - 1)).astype(np.int64)
    height, width = canvas.depth_m.shape
    farthest_first = np.argsort(-points[:, 2], kind="stable")
    for row in range(size_px):
        for column in range(size_px):
            x, y = corner[:, 0] + column, corner[:, 1] + row
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            order = farthest_first[inside[farthest_first]]
            order = order[points[order, 2] < canvas.depth_m[y[order], x[order]]]
            # Of several values for one pixel NumPy keeps the last: the nearest.
            canvas.depth_m[y[order], x[order]] = points[order, 2]
            canvas.rgb[y[order], x[order]] = colors[order]


def draw_dots(
    rgb: UInt8[np.ndarray, "height width 3"], points_px: Float[np.ndarray, "points 2"], color: tuple[int, int, int]
) -> None:
    """Dots with a white rim over whatever is there, in place; those outside the image are left out."""
    radius = max(2, round(max(rgb.shape[:2]) / 250))
    for x, y in points_px.tolist():
        if 0 <= x < rgb.shape[1] and 0 <= y < rgb.shape[0]:
            cv2.circle(rgb, (int(x), int(y)), radius + 1, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
            cv2.circle(rgb, (int(x), int(y)), radius, color, cv2.FILLED, cv2.LINE_AA)


def draw_line(
    canvas: Canvas, points_camera: Float[np.ndarray, "points 3"], color: tuple[int, int, int], width_px: int = 1
) -> None:
    """A line through points, over everything; its parts behind the camera are left out."""
    pixels = _fixed_point(_pixels(points_camera, canvas.intrinsics))
    ahead = points_camera[:, 2] > NEAREST_M
    for start in np.flatnonzero(ahead[:-1] & ahead[1:]):
        first, second = pixels[start].tolist(), pixels[start + 1].tolist()
        cv2.line(canvas.rgb, first, second, color, width_px, cv2.LINE_AA, _SUBPIXEL_BITS)


def _pixels(points_camera: np.ndarray, intrinsics: np.ndarray) -> Float[np.ndarray, "points 2"]:
    depth = np.maximum(points_camera[:, 2:], NEAREST_M)
    return points_camera[:, :2] / depth * np.diag(intrinsics)[:2] + intrinsics[:2, 2]


def _area_of(pixels: np.ndarray, canvas: Canvas) -> tuple[slice, slice] | None:
    """Rows and columns of the canvas around pixels; None where there are none."""
    size = canvas.depth_m.shape[::-1]
    low = np.floor(pixels.min(0)).clip(0, size).astype(int)
    high = (np.ceil(pixels.max(0)) + 1).clip(0, size).astype(int)
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def _fixed_point(pixels: np.ndarray) -> np.ndarray:
    """As OpenCV takes them: sixteenths of a pixel, and a pixel's middle is whole."""
    return np.round((pixels - 0.5) * 2**_SUBPIXEL_BITS).clip(-(2**24), 2**24).astype(np.int32)
