"""Compiled kernels that lay images over a shaded frame: fabrics on garments, and a photograph behind everything."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba as nb
import numpy as np

TILE = 64


@dataclass(frozen=True)
class Fabric:
    """A tile (TILE, TILE, 3) of linear colours that repeats every `period_m` metres."""

    tile: np.ndarray
    period_m: float


@dataclass(frozen=True)
class FabricTable:
    """Fabrics as mip levels. `rows` (materials,) is a material's fabric, -1 for none."""

    rows: np.ndarray
    levels: np.ndarray
    """(fabrics, texels of all levels, 3)"""
    periods_m: np.ndarray

    @staticmethod
    def of(fabrics: list[Fabric], first_material: int) -> FabricTable:
        """The materials from `first_material` on have these fabrics, those before have none."""
        rows = np.concatenate([np.full(first_material, -1), np.arange(len(fabrics))]).astype(np.int64)
        levels = np.stack([_mip_levels(fabric.tile) for fabric in fabrics]).astype(np.float32)
        return FabricTable(rows, levels, np.array([fabric.period_m for fabric in fabrics]))


def _mip_levels(tile: np.ndarray) -> np.ndarray:
    levels = [tile]
    while levels[-1].shape[0] > 1:
        half = levels[-1].shape[0] // 2
        levels.append(levels[-1].reshape(half, 2, half, 2, 3).mean((1, 3)))
    return np.concatenate([level.reshape(-1, 3) for level in levels])


@nb.njit(cache=True, fastmath=True)
def paint_fabrics(depth, ids, points, texture, faces, face_material, rows, levels, periods, fx, fy, cx, cy, skip, out):
    """Multiplies the colours of samples on garments by their fabric's, in place, but where `skip` says so."""
    height, width = depth.shape
    for i in range(height):
        for j in range(width):
            f = ids[i, j]
            if f < 0 or skip[i, j] or face_material[f] < 0:
                continue
            fabric = rows[face_material[f]]
            if fabric < 0:
                continue
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            e1x, e1y, e1z = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
            e2x, e2y, e2z = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
            gx, gy, gz = e1y * e2z - e1z * e2y, e1z * e2x - e1x * e2z, e1x * e2y - e1y * e2x
            norm = gx * gx + gy * gy + gz * gz + 1e-30
            z = depth[i, j]
            dx, dy = (j - cx) / fx, (i - cy) / fy
            px, py, pz = dx * z - points[a, 0], dy * z - points[a, 1], z - points[a, 2]
            b1 = ((py * e2z - pz * e2y) * gx + (pz * e2x - px * e2z) * gy + (px * e2y - py * e2x) * gz) / norm
            b2 = ((e1y * pz - e1z * py) * gx + (e1z * px - e1x * pz) * gy + (e1x * py - e1y * px) * gz) / norm
            b0 = 1.0 - b1 - b2
            u = (b0 * texture[a, 0] + b1 * texture[b, 0] + b2 * texture[c, 0]) / periods[fabric]
            v = (b0 * texture[a, 1] + b1 * texture[b, 1] + b2 * texture[c, 1]) / periods[fabric]
            facing = max(abs(dx * gx + dy * gy + gz) / math.sqrt(norm * (dx * dx + dy * dy + 1.0)), 0.2)
            texel = z / fx / facing / periods[fabric] * TILE
            size, start = TILE, 0
            while texel > 1.5 and size > 1:
                start += size * size
                size //= 2
                texel *= 0.5
            column, row = int(u * size // 1) & (size - 1), int(v * size // 1) & (size - 1)
            for k in range(3):
                out[i, j, k] *= levels[fabric, start + row * size + column, k]


@nb.njit(cache=True, fastmath=True)
def paint_backdrop(ids, rotation, fx, fy, cx, cy, photo, turn, field, middle, around, skip, out):
    """Samples that show no surface get the photograph's colour in their direction, in place.

    The photograph is infinitely far: its columns are bearings from `turn` on, `field` radians wide, mirrored again and
    again (or going round once, where `around`), its rows elevations about the horizon at the share `middle` of its
    height, mirrored too.
    """
    height, width = ids.shape
    rows, columns = photo.shape[:2]
    per_rad = columns / field
    for i in range(height):
        for j in range(width):
            if ids[i, j] >= 0 or skip[i, j]:
                continue
            dx, dy = (j - cx) / fx, (i - cy) / fy
            wx = rotation[0, 0] * dx + rotation[1, 0] * dy + rotation[2, 0]
            wy = rotation[0, 1] * dx + rotation[1, 1] * dy + rotation[2, 1]
            wz = rotation[0, 2] * dx + rotation[1, 2] * dy + rotation[2, 2]
            across = (-math.atan2(wy, wx) - turn) / field
            share = across - math.floor(across)
            if not around and int(across // 1) & 1:
                share = 1.0 - share
            x = min(max(share * columns - 0.5, 0.0), columns - 1.001)
            down = middle - math.atan2(wz, math.sqrt(wx * wx + wy * wy)) * per_rad / rows
            below = down - math.floor(down)
            if int(down // 1) & 1:
                below = 1.0 - below
            y = min(max(below * rows - 0.5, 0.0), rows - 1.001)
            c, r = int(x), int(y)
            ax, ay = x - c, y - r
            for k in range(3):
                upper = photo[r, c, k] * (1 - ax) + photo[r, c + 1, k] * ax
                lower = photo[r + 1, c, k] * (1 - ax) + photo[r + 1, c + 1, k] * ax
                out[i, j, k] = upper * (1 - ay) + lower * ay
