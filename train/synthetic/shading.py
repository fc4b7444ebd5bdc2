"""Compiled kernels that colour a rasterised frame: procedural textures, clothes, light, sky and the tone curve."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

NOISE_SIZE = 256
# Columns of the material table.
KIND, COLOR0, COLOR1, SCALE_U, SCALE_V, NOISE, NOISE_SCALE, LINE, GLOW = 0, 1, 4, 7, 8, 9, 10, 11, 12
MATERIAL_COLUMNS = 13
OUTFIT_COLUMNS = 33
# Kinds of pattern.
PLAIN, CHECKER, BRICKS, STRIPES, PLANKS, TILES, WINDOWS, BLOTCHES = range(8)
# Parts of a body, one for each vertex.
SKIN, TRUNK, ARM, SHOE, HAIR = range(5)


@nb.njit(cache=True, fastmath=True)
def _noise(pyramid, starts, u, v, footprint):
    """Tileable noise in 0..1 at (u, v) in periods, from the mip level whose texel is as large as `footprint`."""
    level = 0
    size = NOISE_SIZE
    texel = footprint * size
    while texel > 1.5 and size > 2:
        texel *= 0.5
        size //= 2
        level += 1
    fu, fv = u * size, v * size
    iu, iv = math.floor(fu), math.floor(fv)
    au, av = fu - iu, fv - iv
    m = size - 1
    o = starts[level]
    r0, r1 = o + (iv & m) * size, o + ((iv + 1) & m) * size
    c0, c1 = iu & m, (iu + 1) & m
    return (pyramid[r0 + c0] * (1 - au) + pyramid[r0 + c1] * au) * (1 - av) + (
        pyramid[r1 + c0] * (1 - au) + pyramid[r1 + c1] * au
    ) * av


@nb.njit(cache=True, fastmath=True)
def _hash(i, j):
    """A number in 0..1 for a cell."""
    h = (i * 374761393 + j * 668265263) & 0x7FFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0x7FFFFFFF
    return (h & 0xFFFF) / 65535.0


@nb.njit(cache=True, fastmath=True)
def _pattern(kind, u, v, su, sv, line, footprint):
    """How much of the second colour a pattern shows at (u, v), 0..1; fades to its mean when it is too fine to see."""
    if kind in (PLAIN, BLOTCHES):
        return 0.0
    x, y = u / su, v / sv
    fade = min(1.0, max(0.0, 1.6 - 2.0 * footprint / min(su, sv)))
    if kind == CHECKER:
        value = float((math.floor(x) + math.floor(y)) & 1)
        return 0.5 + (value - 0.5) * fade
    if kind == STRIPES:
        value = 1.0 if x - math.floor(x) < line else 0.0
        return line + (value - line) * fade
    if kind in (BRICKS, PLANKS):
        row = math.floor(y)
        x += 0.5 * (row & 1) if kind == BRICKS else _hash(row, 7)
    col, row = math.floor(x), math.floor(y)
    fx, fy = x - col, y - row
    if kind == WINDOWS:
        inside = fx > line and fx < 1.0 - line and fy > line and fy < 1.0 - 0.6 * line
        return (0.7 + 0.3 * _hash(col, row)) * fade + 0.3 * (1.0 - fade) if inside else 0.3 * (1.0 - fade)
    edge = fx * su < line or fy * sv < line
    seam_fade = min(1.0, max(0.0, 1.5 - 0.5 * footprint / line))
    cell = 0.45 * _hash(col, row) * fade
    return seam_fade if edge else cell


@nb.njit(cache=True, fastmath=True)
def _outfit_color(outfit, part, x, y, z, footprint, color):
    """Colour of a person at a template position: skin, shirt, trousers, shoes or hair.

    Outfit row: skin, hair, shoes (0:9), then shirt and trousers (9:19, 19:29) as colour, second colour, kind, scale,
    line width and a spare, then sleeve end |x|, trouser end y, waist y, neck y (29:33), all on the template.
    """
    base = -1
    if part == SHOE:
        first = 6
    elif part == HAIR:
        first = 3
    elif part == SKIN:
        first = 0
    elif part == ARM:
        first = 0
        if abs(x) < outfit[29]:
            base = 9
    else:
        first = 0
        if y > outfit[31]:
            base = 9 if y < outfit[32] + 0.15 * abs(x) else -1
        elif y > outfit[30]:
            base = 19
    if base < 0:
        for k in range(3):
            color[k] = outfit[first + k]
        return
    kind = int(outfit[base + 6])
    scale = outfit[base + 7]
    u, v = (y, x) if kind == STRIPES else (x + 0.3 * z, y)
    w = _pattern(kind, u, v, scale, scale, outfit[base + 8], footprint)
    for k in range(3):
        color[k] = outfit[base + k] * (1.0 - w) + outfit[base + 3 + k] * w


@nb.njit(cache=True, fastmath=True)
def shade(
    depth, ids, points, normals, texture, parts, faces, face_material, materials, outfits, pyramid, starts,
    rotation, eye, fx, fy, cx, cy, sun, sun_color, fill, fill_color, ambient, lamp, sky,
    shadow, axes, center, shadow_scale, skip, out,
):  # fmt: skip
    """Linear colour of every sample of a rasterised grid, but where `skip` says that `out` holds it already."""
    height, width = depth.shape
    size = shadow.shape[0]
    color = np.empty(3)
    for i in range(height):
        for j in range(width):
            if skip[i, j]:
                continue
            dx, dy = (j - cx) / fx, (i - cy) / fy
            f = ids[i, j]
            wx = rotation[0, 0] * dx + rotation[1, 0] * dy + rotation[2, 0]
            wy = rotation[0, 1] * dx + rotation[1, 1] * dy + rotation[2, 1]
            wz = rotation[0, 2] * dx + rotation[1, 2] * dy + rotation[2, 2]
            length = math.sqrt(dx * dx + dy * dy + 1.0)
            if f < 0:
                up = min(1.0, max(0.0, wz / length * 1.6 + 0.05))
                w = max(wz / length, 0.06)
                cloud = _noise(pyramid, starts, 0.05 * wx / length / w, 0.05 * wy / length / w, 0.0006 / w)
                cloud = min(1.0, max(0.0, 3.0 * (cloud - 0.55))) * min(1.0, up * 2.0)
                for k in range(3):
                    base = sky[0, k] * (1.0 - up) + sky[1, k] * up
                    out[i, j, k] = base * (1.0 - cloud) + sky[2, k] * cloud
                continue
            z = depth[i, j]
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            e1x, e1y, e1z = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
            e2x, e2y, e2z = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
            gx, gy, gz = e1y * e2z - e1z * e2y, e1z * e2x - e1x * e2z, e1x * e2y - e1y * e2x
            norm = gx * gx + gy * gy + gz * gz + 1e-30
            px, py, pz = dx * z - points[a, 0], dy * z - points[a, 1], z - points[a, 2]
            b1 = ((py * e2z - pz * e2y) * gx + (pz * e2x - px * e2z) * gy + (px * e2y - py * e2x) * gz) / norm
            b2 = ((e1y * pz - e1z * py) * gx + (e1z * px - e1x * pz) * gy + (e1x * py - e1y * px) * gz) / norm
            b0 = 1.0 - b1 - b2
            nx = b0 * normals[a, 0] + b1 * normals[b, 0] + b2 * normals[c, 0]
            ny = b0 * normals[a, 1] + b1 * normals[b, 1] + b2 * normals[c, 1]
            nz = b0 * normals[a, 2] + b1 * normals[b, 2] + b2 * normals[c, 2]
            s = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-20)
            nx, ny, nz = nx * s, ny * s, nz * s
            u = b0 * texture[a, 0] + b1 * texture[b, 0] + b2 * texture[c, 0]
            v = b0 * texture[a, 1] + b1 * texture[b, 1] + b2 * texture[c, 1]
            wpx, wpy, wpz = eye[0] + wx * z, eye[1] + wy * z, eye[2] + wz * z
            facing = max(abs(nx * wx + ny * wy + nz * wz) / length, 0.12)
            footprint = z / fx / facing
            glow = 0.0
            m = face_material[f]
            if m >= 0:
                kind = int(materials[m, KIND])
                w = _pattern(kind, u, v, materials[m, SCALE_U], materials[m, SCALE_V], materials[m, LINE], footprint)
                ns = materials[m, NOISE_SCALE]
                n1 = _noise(pyramid, starts, u / ns, v / ns, footprint / ns)
                n2 = _noise(pyramid, starts, 5.3 * v / ns + 0.31, 5.3 * u / ns, 5.3 * footprint / ns)
                if kind == BLOTCHES:
                    w = min(1.0, max(0.0, 2.5 * n1 - 0.75))
                grain = 1.0 + materials[m, NOISE] * (1.3 * (n1 - 0.5) + 0.9 * (n2 - 0.5))
                for k in range(3):
                    color[k] = (materials[m, COLOR0 + k] * (1.0 - w) + materials[m, COLOR1 + k] * w) * grain
                glow = materials[m, GLOW]
            else:
                depth_t = b0 * texture[a, 2] + b1 * texture[b, 2] + b2 * texture[c, 2]
                nearest = a if (b0 >= b1 and b0 >= b2) else (b if b1 >= b2 else c)
                # Where the parts differ inside a triangle, the part with the larger barycentric share wins.
                part = parts[nearest]
                if parts[b] == parts[c] and b1 + b2 > 0.5:
                    part = parts[b]
                elif (parts[a] == parts[c] and b0 + b2 > 0.5) or (parts[a] == parts[b] and b0 + b1 > 0.5):
                    part = parts[a]
                _outfit_color(outfits[-1 - m], part, u, v, depth_t, footprint, color)
                n1 = _noise(pyramid, starts, 2.1 * u + 1.3 * depth_t, 2.1 * v, 2.5 * footprint)
                amount = 0.25 if part == SKIN else 0.55
                for k in range(3):
                    color[k] *= 1.0 + amount * (n1 - 0.5)
            lit = max(0.0, nx * sun[0] + ny * sun[1] + nz * sun[2])
            if lit > 0.0:
                ox, oy, oz = wpx + 0.012 * nx - center[0], wpy + 0.012 * ny - center[1], wpz + 0.012 * nz - center[2]
                qx = (axes[0, 0] * ox + axes[0, 1] * oy + axes[0, 2] * oz) * shadow_scale + size * 0.5
                qy = (axes[1, 0] * ox + axes[1, 1] * oy + axes[1, 2] * oz) * shadow_scale + size * 0.5
                qz = axes[2, 0] * ox + axes[2, 1] * oy + axes[2, 2] * oz - 0.02
                ix, iy = math.floor(qx), math.floor(qy)
                if ix >= 0 and iy >= 0 and ix < size - 1 and iy < size - 1:
                    ax, ay = qx - ix, qy - iy
                    near = (1.0 if shadow[iy, ix] >= qz else 0.0) * (1 - ax) + (
                        1.0 if shadow[iy, ix + 1] >= qz else 0.0
                    ) * ax
                    far = (1.0 if shadow[iy + 1, ix] >= qz else 0.0) * (1 - ax) + (
                        1.0 if shadow[iy + 1, ix + 1] >= qz else 0.0
                    ) * ax
                    lit *= near * (1 - ay) + far * ay
                if lamp[3] > 0.0:
                    d2 = (wpx - lamp[0]) ** 2 + (wpy - lamp[1]) ** 2 + (wpz - lamp[2]) ** 2
                    lit *= 1.6 / (1.0 + d2 / (lamp[3] * lamp[3]))
            second = max(0.0, nx * fill[0] + ny * fill[1] + nz * fill[2])
            dome = 0.72 + 0.28 * nz
            for k in range(3):
                light = ambient[k] * dome + sun_color[k] * lit + fill_color[k] * second
                out[i, j, k] = color[k] * (light * (1.0 - glow) + glow)


@nb.njit(cache=True, fastmath=True)
def fill_smooth_corners(depth, ids, colors, corner_depth, corner_ids, faces, normals, face_material, out):
    """Colours of the pixel corners whose four pixels lie on the same smooth surface: their mean. Returns which."""
    height, width = depth.shape
    done = np.zeros(corner_ids.shape, np.bool_)
    for i in range(1, height):
        for j in range(1, width):
            f = corner_ids[i, j]
            same = True
            for k in range(4):
                g = ids[i - 1 + (k >> 1), j - 1 + (k & 1)]
                if g == f:
                    continue
                if g < 0 or f < 0 or face_material[g] != face_material[f]:
                    same = False
                    break
                a, b = faces[f, 0], faces[g, 0]
                facing = normals[a, 0] * normals[b, 0] + normals[a, 1] * normals[b, 1] + normals[a, 2] * normals[b, 2]
                if facing < 0.8:
                    same = False
                    break
            if not same:
                continue
            z0, z1, z2, z3 = depth[i - 1, j - 1], depth[i - 1, j], depth[i, j - 1], depth[i, j]
            if f >= 0 and abs(0.25 * (z0 + z1 + z2 + z3) - corner_depth[i, j]) > 0.02 * corner_depth[i, j]:
                continue
            for c in range(3):
                out[i, j, c] = 0.25 * (
                    colors[i - 1, j - 1, c] + colors[i - 1, j, c] + colors[i, j - 1, c] + colors[i, j, c]
                )
            done[i, j] = True
    return done


@nb.njit(cache=True, fastmath=True)
def develop(centers, corners, exposure, vignette, lut, grain, grain_row, grain_col, tint, out):
    """Quincunx mean, vignetting, noise and tone curve to 8 bits."""
    height, width = out.shape[:2]
    top = lut.shape[0] - 1
    gh, gw = grain.shape
    for i in range(height):
        for j in range(width):
            x, y = (j + 0.5) / width - 0.5, (i + 0.5) / height - 0.5
            gain = exposure * (1.0 - vignette * 2.0 * (x * x + y * y))
            for k in range(3):
                value = 0.5 * centers[i, j, k] + 0.125 * (
                    corners[i, j, k] + corners[i, j + 1, k] + corners[i + 1, j, k] + corners[i + 1, j + 1, k]
                )
                index = int(min(1.0, max(0.0, value * gain * tint[k])) * top)
                level = lut[index] + grain[(i + grain_row) % gh, (j * 3 + k + grain_col) % gw]
                out[i, j, k] = int(min(255.0, max(0.0, level + 0.5)))


def noise_pyramid(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Tileable noise of many octaves in 0..1 (power falls with frequency), as mip levels, with each level's start."""
    size = NOISE_SIZE
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None]) * size
    spectrum = np.where(frequency > 0, 1.0 / np.maximum(frequency, 1.0) ** rng.uniform(0.9, 1.5), 0.0)
    level = np.fft.ifft2(spectrum * np.fft.fft2(rng.standard_normal((size, size)))).real
    level = np.clip(0.5 + 0.2 * level / level.std(), 0.0, 1.0).astype(np.float32)
    levels = [level]
    while level.shape[0] > 2:
        level = level.reshape(level.shape[0] // 2, 2, level.shape[1] // 2, 2).mean((1, 3))
        levels.append(level)
    starts = np.cumsum([0] + [item.size for item in levels[:-1]]).astype(np.int64)
    return np.concatenate([item.ravel() for item in levels]), starts
