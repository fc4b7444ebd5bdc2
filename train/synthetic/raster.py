"""Compiled kernels that turn triangles into depth, triangle numbers and shadow maps."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

NEAR_M = 0.05
FAR = np.float32(1e9)


@nb.njit(cache=True, fastmath=True)
def to_camera(points, rotation, translation):
    """World points in the camera frame, float64."""
    out = np.empty((points.shape[0], 3), np.float64)
    for i in range(points.shape[0]):
        for k in range(3):
            out[i, k] = (
                rotation[k, 0] * points[i, 0]
                + rotation[k, 1] * points[i, 1]
                + rotation[k, 2] * points[i, 2]
                + translation[k]
            )
    return out


@nb.njit(cache=True)
def _fill(x0, y0, i0, x1, y1, i1, x2, y2, i2, face, depth, ids):
    """Rasterises one screen triangle whose vertices carry inverse depths i0, i1, i2 (linear on the screen)."""
    height, width = depth.shape
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    if area == 0.0:
        return
    if area < 0.0:
        x1, y1, i1, x2, y2, i2 = x2, y2, i2, x1, y1, i1
        area = -area
    top = max(0, math.ceil(max(min(y0, y1, y2), -1.0)))
    bottom = min(height - 1, math.floor(min(max(y0, y1, y2), height + 1.0)))
    left = max(min(x0, x1, x2), 0.0)
    right = min(max(x0, x1, x2), width - 1.0)
    if left > right:
        return
    gx = ((i1 - i0) * (y2 - y0) - (i2 - i0) * (y1 - y0)) / area
    gy = ((i2 - i0) * (x1 - x0) - (i1 - i0) * (x2 - x0)) / area
    for y in range(top, bottom + 1):
        low, high = left, right
        for edge in range(3):
            if edge == 0:
                ax, ay, bx, by = x0, y0, x1, y1
            elif edge == 1:
                ax, ay, bx, by = x1, y1, x2, y2
            else:
                ax, ay, bx, by = x2, y2, x0, y0
            slope = by - ay  # inside: (bx-ax)(y-ay) - (by-ay)(x-ax) >= 0
            if slope > 0.0:
                high = min(high, ax + (bx - ax) * (y - ay) / slope)
            elif slope < 0.0:
                low = max(low, ax + (bx - ax) * (y - ay) / slope)
            elif (bx - ax) * (y - ay) < 0.0:
                high = low - 1.0
        first = math.ceil(low)
        inverse = i0 + gx * (first - x0) + gy * (y - y0)
        for x in range(first, math.floor(high) + 1):
            z = 1.0 / inverse
            if z < depth[y, x]:
                depth[y, x] = z
                ids[y, x] = face
            inverse += gx


@nb.njit(cache=True)
def rasterise(points, faces, fx, fy, cx, cy, first_face, depth, ids):
    """Draws camera-frame triangles; sample (row, column) lies at screen (column, row) = (fx X/Z + cx, ...).

    Triangles that cross the near plane are clipped, so floors and walls may reach behind the camera.
    """
    sx = np.empty(4)
    sy = np.empty(4)
    si = np.empty(4)
    for f in range(faces.shape[0]):
        za, zb, zc = points[faces[f, 0], 2], points[faces[f, 1], 2], points[faces[f, 2], 2]
        if za <= NEAR_M and zb <= NEAR_M and zc <= NEAR_M:
            continue
        count = 0
        for k in range(3):
            p = faces[f, k]
            q = faces[f, (k + 1) % 3]
            zp, zq = points[p, 2], points[q, 2]
            if zp > NEAR_M:
                sx[count] = fx * points[p, 0] / zp + cx
                sy[count] = fy * points[p, 1] / zp + cy
                si[count] = 1.0 / zp
                count += 1
            if (zp > NEAR_M) != (zq > NEAR_M):
                w = (NEAR_M - zp) / (zq - zp)
                sx[count] = fx * (points[p, 0] + w * (points[q, 0] - points[p, 0])) / NEAR_M + cx
                sy[count] = fy * (points[p, 1] + w * (points[q, 1] - points[p, 1])) / NEAR_M + cy
                si[count] = 1.0 / NEAR_M
                count += 1
        for k in range(2, count):
            _fill(sx[0], sy[0], si[0], sx[k - 1], sy[k - 1], si[k - 1], sx[k], sy[k], si[k], first_face + f, depth, ids)


@nb.njit(cache=True)
def rasterise_shadow(vertices, faces, casts, axes, center, scale, shadow):
    """Distance along the light of the nearest caster at each texel of the shadow map (orthographic)."""
    size = shadow.shape[0]
    screen = np.empty((vertices.shape[0], 3))
    for i in range(vertices.shape[0]):
        x, y, z = vertices[i, 0] - center[0], vertices[i, 1] - center[1], vertices[i, 2] - center[2]
        for k in range(3):
            screen[i, k] = axes[k, 0] * x + axes[k, 1] * y + axes[k, 2] * z
        screen[i, 0] = screen[i, 0] * scale + size * 0.5
        screen[i, 1] = screen[i, 1] * scale + size * 0.5
    for f in range(faces.shape[0]):
        if not casts[f]:
            continue
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        x0, y0, x1, y1 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1]
        x2, y2 = screen[c, 0], screen[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0:
            continue
        top = max(0, math.ceil(min(y0, y1, y2)))
        bottom = min(size - 1, math.floor(max(y0, y1, y2)))
        left = max(0, math.ceil(min(x0, x1, x2)))
        right = min(size - 1, math.floor(max(x0, x1, x2)))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                w1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                w2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                if w1 < 0.0 or w2 < 0.0 or w1 + w2 > 1.0:
                    continue
                z = screen[a, 2] * (1.0 - w1 - w2) + screen[b, 2] * w1 + screen[c, 2] * w2
                if z < shadow[y, x]:
                    shadow[y, x] = z


@nb.njit(cache=True, fastmath=True)
def vertex_normals(vertices, faces):
    """Area-weighted unit normals."""
    out = np.zeros((vertices.shape[0], 3), np.float32)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            out[k, 0] += nx
            out[k, 1] += ny
            out[k, 2] += nz
    for i in range(out.shape[0]):
        length = math.sqrt(out[i, 0] ** 2 + out[i, 1] ** 2 + out[i, 2] ** 2 + 1e-20)
        for k in range(3):
            out[i, k] /= length
    return out
