"""The scene without its people: a few frames whose surfaces, put side by side, show all that the clip saw of it."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from scipy.ndimage import binary_dilation

from unish.structures import Reconstruction
from unish.structures.presence import is_missed
from unish.viewer.surfaces import Surfaces

MAX_LAYERS = 8
MAX_CANDIDATES = 24
LEAST_NEW = 0.008
"""A frame becomes a layer where this share of its vertices shows something new."""
SAME_SURFACE = 0.18
"""Of the depth that a layer has there: what lies no farther behind it is the surface that the layer shows."""
SEAM = 10
"""Cells by which a layer reaches into those before it, so that no seam opens where two depth maps disagree."""
BOX_MARGIN = 0.08
"""Of a box's longer side."""


@dataclass(frozen=True)
class Background:
    """Frames whose surfaces make the scene, and which of their cells are drawn; people are in none of them."""

    frames: Int[np.ndarray, "layers"]
    cells: Bool[np.ndarray, "layers cell_rows cell_columns"]


def background_layers(reconstruction: Reconstruction, surfaces: Surfaces) -> Background:
    """Choose frames one by one, each time the one that shows most of the scene that none before it shows.

    Every layer keeps only what is new in it, so that no place is drawn twice from depth maps that disagree. What lies
    in people's boxes, and last what lies close to them, is taken only where no other frame shows it.
    """
    poses = reconstruction.cameras.world_from_camera.astype(np.float64)
    spread = np.unique(np.linspace(0, len(surfaces) - 1, MAX_CANDIDATES).round().astype(int))
    candidates = [int(frame) for frame in spread if np.isfinite(poses[frame]).all()]
    unseen = {frame: np.ones(surfaces.depth_m.shape[1:], bool) for frame in candidates}
    least = max(1, LEAST_NEW * math.prod(surfaces.depth_m.shape[1:]))
    chosen: list[int] = []
    cells: list[np.ndarray] = []
    for allowed in _rounds(reconstruction, surfaces, candidates):
        while candidates and len(chosen) < MAX_LAYERS:
            new = {frame: unseen[frame] & _inner_vertices(allowed[frame]) for frame in candidates}
            gain = {frame: int(vertices.sum()) for frame, vertices in new.items()}
            best = max(gain, key=gain.__getitem__) if chosen else _middle_of_best(gain)
            if gain[best] < least:
                break
            added = _cells_around(new[best]) & allowed[best]
            if best in chosen:
                cells[chosen.index(best)] |= added
            else:
                chosen.append(best)
                cells.append(added)
            unseen[best] &= ~new[best]
            for frame in candidates:
                unseen[frame] &= ~_covered(reconstruction, surfaces, frame, best, added, unseen[frame])
    shape = (0, *surfaces.cells.shape[1:])
    return Background(np.array(chosen, np.int64), np.stack(cells) if cells else np.zeros(shape, bool))


def _rounds(reconstruction: Reconstruction, surfaces: Surfaces, frames: list[int]) -> list[dict[int, np.ndarray]]:
    """Cells that may be taken from each frame, round by round ever closer to people, but never of people missed."""
    missed = {frame: in_boxes(reconstruction, surfaces, frame, only_missed=True) for frame in frames}
    wide = {frame: surfaces.scene_cells(frame) & ~missed[frame] for frame in frames}
    clear = {frame: cells & ~in_boxes(reconstruction, surfaces, frame) for frame, cells in wide.items()}
    return [clear, wide, {frame: surfaces.scene_cells(frame, close=True) & ~missed[frame] for frame in frames}]


def in_boxes(
    reconstruction: Reconstruction, surfaces: Surfaces, frame: int, only_missed: bool = False
) -> Bool[np.ndarray, "cell_rows cell_columns"]:
    """Cells in somebody's box, a little wider: masks miss parts of people, boxes hardly ever. People who
    are missed in this frame (`is_missed`) have boxes too; `only_missed`: nobody else."""
    inside = np.zeros(surfaces.cells.shape[1:], bool)
    for person in reconstruction.people:
        box = person.boxes_px[frame]
        there = is_missed(person, reconstruction.times_s, frame) or (person.present[frame] and not only_missed)
        if there and np.isfinite(box).all():
            margin = BOX_MARGIN * max(box[2] - box[0], box[3] - box[1])
            (top, left), stride = surfaces.first_px, surfaces.stride
            low = np.floor((box[1::-1] - margin - [top, left]) / stride).astype(int).clip(0)
            high = np.ceil((box[:1:-1] + margin - [top, left]) / stride).astype(int).clip(0)
            inside[low[0] : high[0], low[1] : high[1]] = True
    return inside


def vertices_shown(
    reconstruction: Reconstruction, surfaces: Surfaces, frame: int, background: Background
) -> Bool[np.ndarray, "rows columns"]:
    """Which vertices of `frame` one of the layers shows."""
    shown = np.zeros(surfaces.depth_m.shape[1:], bool)
    for layer, cells in zip(background.frames, background.cells, strict=True):
        shown |= _covered(reconstruction, surfaces, frame, int(layer), cells, ~shown)
    return shown


def _middle_of_best(gain: dict[int, int]) -> int:
    """Of the frames that show at least 97 % of what the best one shows, the middle one."""
    good = [frame for frame, count in gain.items() if count >= 0.97 * max(gain.values())]
    return good[len(good) // 2]


def _covered(
    reconstruction: Reconstruction,
    surfaces: Surfaces,
    frame: int,
    layer: int,
    cells: Bool[np.ndarray, "cell_rows cell_columns"],
    asked: Bool[np.ndarray, "rows columns"],
) -> Bool[np.ndarray, "rows columns"]:
    """Which of the vertices `asked` of `frame` the cells drawn of the frame `layer` show, or would show were the
    vertices right."""
    cameras = reconstruction.cameras
    poses, intrinsics = cameras.world_from_camera.astype(np.float64), cameras.intrinsics.astype(np.float64)
    layer_from_frame = np.linalg.inv(poses[layer]) @ poses[frame]
    points_frame = surfaces.points_camera(frame, intrinsics[frame])[asked]
    points = points_frame @ layer_from_frame[:3, :3].T + layer_from_frame[:3, 3]
    depth_m = points[:, 2]
    ahead = depth_m > 1e-3
    pixels = (points @ intrinsics[layer].T)[:, 1::-1] / np.where(ahead, depth_m, 1.0)[:, None]
    place = np.round((pixels - 0.5 - np.array(surfaces.first_px)) / surfaces.stride)
    inside = ahead & ((place >= 0) & (place < surfaces.depth_m.shape[1:])).all(-1)
    row, column = np.where(inside[:, None], place, 0).astype(int).T
    shown = np.zeros(asked.shape, bool)
    shown[asked] = inside & _inner_vertices(cells)[row, column]
    shown[asked] &= depth_m < (1 + SAME_SURFACE) * surfaces.depth_m[layer][row, column]
    return shown


def _inner_vertices(cells: Bool[np.ndarray, "cell_rows cell_columns"]) -> Bool[np.ndarray, "rows columns"]:
    """Vertices with all the cells around them."""
    padded = np.pad(cells, 1, mode="edge") if cells.size else np.zeros(np.add(cells.shape, 2), bool)
    return padded[:-1, :-1] & padded[:-1, 1:] & padded[1:, :-1] & padded[1:, 1:]


def _cells_around(vertices: Bool[np.ndarray, "rows columns"]) -> Bool[np.ndarray, "cell_rows cell_columns"]:
    """Cells within `SEAM` of these vertices."""
    wide = np.asarray(binary_dilation(vertices, np.ones((3, 3)), iterations=SEAM), bool)
    return wide[:-1, :-1] & wide[:-1, 1:] & wide[1:, :-1] & wide[1:, 1:]
