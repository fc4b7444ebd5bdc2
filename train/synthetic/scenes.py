"""Random rooms and streets around a given free area, with their light and their camera's tone curve. World z up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from train.synthetic import shading as r
from train.synthetic import shapes
from train.synthetic.climbing import Stairs
from train.synthetic.renderer import Light, Mesh, Tone

CLEARANCE_M = 0.45
SIDES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class Scene:
    """A static world: one mesh, its material table, its light and the camera's response."""

    mesh: Mesh
    materials: np.ndarray
    light: Light
    tone: Tone


def random_color(rng: np.random.Generator, vivid: float = 0.4, low: float = 0.05, high: float = 0.8) -> np.ndarray:
    """A linear colour of any hue; `vivid` 0 is grey, 1 may be fully saturated."""
    value = rng.uniform(low**0.5, high**0.5) ** 2
    tone = rng.uniform(0, 1, 3) ** 1.5 + 0.02
    tone = tone / tone.mean()
    share = vivid * rng.beta(1.3, 1.3)
    return np.clip(value * ((1 - share) + share * tone), 0.01, 0.95)


@dataclass
class Materials:
    """Collects rows of the material table while a scene is built."""

    rng: np.random.Generator
    rows: list[np.ndarray] = field(default_factory=list)

    def add(self, kind: int, color, second, scale=(1.0, 1.0), line=0.02, noise=0.3, noise_scale=1.5, glow=0.0) -> int:
        """Adds one material and returns its row."""
        row = np.zeros(r.MATERIAL_COLUMNS, np.float32)
        row[r.KIND], row[r.COLOR0 : r.COLOR0 + 3], row[r.COLOR1 : r.COLOR1 + 3] = kind, color, second
        row[r.SCALE_U], row[r.SCALE_V], row[r.LINE], row[r.GLOW] = *scale, line, glow
        row[r.NOISE], row[r.NOISE_SCALE] = noise, noise_scale
        self.rows.append(row)
        return len(self.rows) - 1

    def random(self, kinds: tuple[int, ...], size: float = 1.0, vivid: float = 0.5, low: float = 0.05) -> int:
        """A random material of one of these kinds; `size` scales its pattern."""
        rng = self.rng
        kind = int(rng.choice(kinds))
        color = random_color(rng, vivid, low)
        contrast = rng.uniform(0.25, 1.0)
        second = color + contrast * (random_color(rng, vivid) - color)
        u = size * np.exp(rng.uniform(np.log(0.15), np.log(0.9)))
        line = rng.uniform(0.004, 0.02)
        scale = (u, u)
        if kind == r.BRICKS:
            scale = (u, u * rng.uniform(0.3, 0.6))
        elif kind == r.PLANKS:
            scale = (size * rng.uniform(0.8, 2.5), size * rng.uniform(0.08, 0.25))
        elif kind == r.STRIPES:
            line = rng.uniform(0.2, 0.7)
        elif kind == r.WINDOWS:
            scale, line = (rng.uniform(1.4, 3.5), rng.uniform(2.4, 3.6)), rng.uniform(0.15, 0.32)
            second = random_color(rng, 0.3, 0.02, 0.35)
        noise, noise_scale = rng.uniform(0.15, 1.0) ** 2.2, size * np.exp(rng.uniform(np.log(0.5), np.log(4.0)))
        return self.add(kind, color, second, scale, line, noise, noise_scale)


FLOORS_INDOOR = (r.PLANKS, r.PLANKS, r.TILES, r.CHECKER, r.PLAIN, r.BLOTCHES, r.TILES, r.BRICKS)
FLOORS_OUTDOOR = (r.PLAIN, r.BLOTCHES, r.BRICKS, r.TILES, r.BLOTCHES, r.PLAIN, r.CHECKER)
WALLS_INDOOR = (r.PLAIN, r.PLAIN, r.PLAIN, r.STRIPES, r.BRICKS, r.TILES, r.BLOTCHES)
FACADES = (r.BRICKS, r.WINDOWS, r.WINDOWS, r.WINDOWS, r.PLAIN, r.TILES)
THINGS = (r.PLAIN, r.PLAIN, r.STRIPES, r.CHECKER, r.PLANKS, r.BLOTCHES, r.TILES, r.BRICKS)


def build_scene(
    rng: np.random.Generator, domain: str, bounds, keep_free, seats=(), open_sides: frozenset[str] = frozenset(),
    stairs: Sequence[Stairs] = (),
) -> Scene:  # fmt: skip
    """A room ("indoor") or a street ("outdoor") around `bounds` (x0, y0, x1, y1, highest camera, metres).

    Nothing is put within CLEARANCE_M of the floor points `keep_free` (points, 2), where people walk and the camera
    moves. Each seat is (x, y, height, yaw): a box to sit on is placed there. `open_sides` (of SIDES) have neither walls
    nor houses; with more than one of them a room has no ceiling, and with all a street's ground ends somewhere.
    """
    materials = Materials(rng)
    parts: list[Mesh] = []
    build = _indoor if domain == "indoor" else _outdoor
    area, light = build(rng, materials, parts, bounds, open_sides)
    for x, y, height, yaw in seats:
        depth = rng.uniform(0.34, 0.5)
        size = (rng.uniform(0.4, 1.6), depth, height)
        # The front edge lies under the knees' side of the thighs; the body faces -y before it is turned by yaw.
        place = np.array([x, y, 0.0]) + shapes.yaw_matrix(yaw) @ np.array([0.0, depth / 2 - 0.22, 0.0])
        parts.append(shapes.box(place, size, yaw, materials.random(THINGS, 0.4)))
    for flight in stairs:
        material = materials.random(THINGS, 0.4)
        parts += [shapes.box(middle, size, flight.yaw, material) for middle, size in flight.blocks()]
    _clutter(rng, materials, parts, area, keep_free, indoor=domain == "indoor")
    tone = Tone(
        exposure=float(np.exp(rng.normal(0.0, 0.25))),
        gamma=float(rng.uniform(1.9, 2.4)),
        vignette=float(max(0.0, rng.uniform(-0.3, 0.6))),
        blur_px=float(max(0.0, rng.uniform(-0.5, 0.7))),
        noise=float(max(0.0, rng.uniform(-0.006, 0.02))),
        tint=tuple(np.clip(rng.normal(1.0, 0.06, 3), 0.8, 1.2).tolist()),
    )
    return Scene(Mesh.join(parts), np.stack(materials.rows), light, tone)


def _indoor(rng, materials: Materials, parts: list[Mesh], bounds, open_sides: frozenset[str]):
    margin = np.exp(rng.uniform(np.log(0.35), np.log(4.0), 4))
    x0, y0, x1, y1 = np.asarray(bounds[:4]) + margin * [-1, -1, 1, 1]
    height = max(rng.uniform(2.4, 3.6), bounds[4] + 0.25)
    floor = [[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]]
    parts.append(shapes.quad(floor, materials.random(FLOORS_INDOOR), offset=rng.uniform(0, 9, 2)))
    shared = materials.random(WALLS_INDOOR, vivid=0.6, low=0.25)
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    skirting = materials.random((r.PLAIN,), 1.0) if rng.random() < 0.6 else None
    for k in range(4):
        if ("y0", "x1", "y1", "x0")[k] in open_sides:
            continue
        (ax, ay), (bx, by) = corners[k], corners[(k + 1) % 4]
        wall = shared if rng.random() < 0.7 else materials.random(WALLS_INDOOR, low=0.2)
        patch = [[bx, by, 0], [ax, ay, 0], [ax, ay, height], [bx, by, height]]
        parts.append(shapes.quad(patch, wall, False, rng.uniform(0, 9, 2)))
        _hang(rng, materials, parts, (ax, ay), (bx, by), height, skirting)
    ceiling = [[x0, y1, height], [x1, y1, height], [x1, y0, height], [x0, y0, height]]
    pale = rng.uniform(0.5, 0.85) * np.clip(rng.normal(1.0, 0.05, 3), 0.8, 1.1)
    kind = int(rng.choice((r.PLAIN, r.PLAIN, r.TILES)))
    if len(open_sides) < 2:
        parts.append(shapes.quad(ceiling, materials.add(kind, pale, pale * 0.7, (0.6, 0.6), 0.02, 0.1), False))
    lamp_glow = materials.add(r.PLAIN, np.ones(3), np.ones(3), noise=0.0, glow=1.0)
    lamps = [rng.uniform((x0, y0), (x1, y1)) for _ in range(int(rng.integers(0, 4)))]
    for x, y in lamps if len(open_sides) < 2 else ():
        parts.append(shapes.box((x, y, height - 0.04), (*rng.uniform(0.2, 1.0, 2), 0.04), 0.0, lamp_glow, False))
    middle = np.array([(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2])
    direction = np.array([*rng.normal(0, 0.55, 2), 1.0])
    warm = np.array([1.0, rng.uniform(0.8, 1.0), rng.uniform(0.6, 1.05)])
    share = rng.uniform(0.3, 0.75)
    light = _light(
        rng, direction, warm * 1.1 * share, np.ones(3) * rng.uniform(0.95, 1.05, 3) * (1.05 - 0.8 * share), _sky(rng)
    )
    lamp = np.array([*(middle + rng.normal(0, 1.5, 2)), height, rng.uniform(2.5, 8.0)])
    return (x0, y0, x1, y1), Light(**{**light.__dict__, "lamp": lamp})


def _hang(rng, materials: Materials, parts: list[Mesh], start, end, height: float, skirting) -> None:
    """Doors, windows, images, shelves and a skirting board on one wall."""
    start, end = np.asarray(start), np.asarray(end)
    along = end - start
    length = float(np.linalg.norm(along))
    yaw = float(np.arctan2(along[1], along[0]))
    inward = shapes.yaw_matrix(yaw)[:2, 1]

    def on_wall(at, bottom, size, material):
        place = start + along * (at / length) + inward * size[1] / 2
        offset = rng.uniform(0, 9, 2)
        parts.append(shapes.box((*place, bottom), size, yaw, material, False, offset))

    if skirting is not None:
        on_wall(length / 2, 0.0, (length, 0.02, 0.1), skirting)
    for layer in range(int(rng.integers(0, 4))):
        kind = rng.random()
        if kind < 0.25:
            width, bottom, tall, thick = rng.uniform(0.75, 1.1), 0.0, rng.uniform(1.95, 2.2), 0.04
            material = materials.random((r.PLAIN, r.PLANKS))
        elif kind < 0.5:
            width, bottom, tall, thick = rng.uniform(0.7, 2.4), rng.uniform(0.7, 1.1), rng.uniform(0.8, 1.4), 0.03
            pane, frame = random_color(rng, 0.3, 0.4, 0.9), random_color(rng, 0.2, 0.3)
            scale = (width / rng.integers(1, 4), tall / rng.integers(1, 3))
            material = materials.add(r.TILES, pane, frame, scale, 0.05, 0.5, 3.0, glow=float(rng.uniform(0.2, 0.9)))
        elif kind < 0.85:
            width, bottom, tall, thick = rng.uniform(0.25, 1.4), rng.uniform(1.0, 1.7), rng.uniform(0.25, 0.9), 0.025
            material = materials.random((r.BLOTCHES, r.STRIPES, r.CHECKER, r.PLAIN), rng.uniform(0.2, 0.7), 1.0)
        else:
            width, bottom, tall, thick = rng.uniform(0.5, 1.8), rng.uniform(0.9, 1.9), 0.04, rng.uniform(0.15, 0.3)
            material = materials.random((r.PLAIN, r.PLANKS))
        if width < length - 0.2:
            # Each layer is thicker than the last, so that what overlaps does not lie in one plane.
            size = (width, thick + 0.008 * layer, min(tall, height - bottom - 0.1))
            on_wall(rng.uniform(width / 2, length - width / 2), bottom, size, material)


def _outdoor(rng, materials: Materials, parts: list[Mesh], bounds, open_sides: frozenset[str]):
    reach = 70.0 if len(open_sides) < 4 else float(np.exp(rng.uniform(np.log(8.0), np.log(70.0))))
    ground = materials.random(FLOORS_OUTDOOR, rng.uniform(0.8, 2.5))
    if rng.random() < 0.4:  # grass or earth
        color = np.array([0.12, 0.2, 0.05]) if rng.random() < 0.6 else np.array([0.3, 0.22, 0.13])
        color = color * rng.uniform(0.6, 1.5)
        ground = materials.add(r.BLOTCHES, color, color * rng.uniform(0.5, 1.6, 3), noise=0.9, noise_scale=2.5)
    turn = shapes.yaw_matrix(rng.uniform(0, 2 * np.pi))
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float64) * reach
    parts.append(shapes.quad(square @ turn.T, ground, offset=rng.uniform(0, 9, 2)))
    margin = np.exp(rng.uniform(np.log(0.6), np.log(14.0), 4))
    x0, y0, x1, y1 = np.asarray(bounds[:4]) + margin * [-1, -1, 1, 1]
    for side in range(4):
        if rng.random() < 0.35 or SIDES[side] in open_sides:
            continue
        at = (x0, y0, x1, y1)[side]
        sign = -1 if side < 2 else 1
        place = -25.0
        while place < 25.0:
            width, depth = rng.uniform(5, 14), rng.uniform(3, 8)
            tall = rng.uniform(1.6, 3.0) if rng.random() < 0.25 else rng.uniform(4, 12)
            setback = rng.uniform(0, 1.5)
            flat = (at + sign * (depth / 2 + setback), place + width / 2)
            center = flat if side % 2 == 0 else flat[::-1]
            size = (depth, width, tall) if side % 2 == 0 else (width, depth, tall)
            facade = materials.random(FACADES, rng.uniform(0.5, 1.3), low=0.12)
            parts.append(shapes.box((*center, 0.0), size, 0.0, facade, tall < 4, rng.uniform(0, 9, 2)))
            place += width + (rng.uniform(0.5, 5) if rng.random() < 0.5 else 0.0)
    elevation, heading = np.radians(rng.uniform(20, 75)), rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(heading) * np.cos(elevation), np.sin(heading) * np.cos(elevation), np.sin(elevation)])
    sun = rng.uniform(0.0, 1.1)  # overcast to clear
    color = sun * np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 0.95)])
    ambient = (1.0 - 0.6 * sun) * np.array([rng.uniform(0.85, 1.0), 0.97, rng.uniform(0.95, 1.12)])
    return (x0, y0, x1, y1), _light(rng, direction, color, ambient, _sky(rng))


def _sky(rng) -> np.ndarray:
    blue = np.array([0.25, 0.45, 0.8]) * rng.uniform(0.6, 1.2)
    gray = np.ones(3) * rng.uniform(0.45, 0.9)
    zenith = blue + rng.random() * (gray - blue)
    horizon = 0.5 * zenith + 0.5 * np.array([rng.uniform(0.75, 1.0), rng.uniform(0.75, 0.95), rng.uniform(0.7, 1.0)])
    return np.stack([horizon, zenith, np.ones(3) * rng.uniform(0.75, 1.0)])


def _light(rng, direction, color, ambient, sky) -> Light:
    direction = direction / np.linalg.norm(direction)
    fill = rng.normal(size=3) * [1, 1, 0.4]
    return Light(
        direction=direction,
        color=np.asarray(color, np.float64),
        fill_direction=fill / np.linalg.norm(fill),
        fill_color=rng.uniform(0.0, 0.22) * rng.uniform(0.8, 1.0, 3),
        ambient=np.asarray(ambient, np.float64),
        lamp=np.zeros(4),
        sky=sky,
    )


def _clutter(rng, materials: Materials, parts: list[Mesh], area, keep_free, indoor: bool) -> None:
    """Furniture, crates, columns, balls, ramps and stairs where nobody walks."""
    x0, y0, x1, y1 = area
    free = np.asarray(keep_free, np.float64).reshape(-1, 2)
    taken = [np.zeros((0, 3))]
    for _ in range(int(rng.integers(6, 24))):
        size = np.exp(rng.uniform(np.log([0.2, 0.2, 0.15]), np.log([1.8, 1.2, 1.5])))
        kind = rng.random()
        if kind < 0.1:
            size = np.array([*rng.uniform(0.04, 0.3, 2), rng.uniform(1.8, 2.3 if indoor else 5.0)])
        radius = float(np.hypot(size[0], size[1]) / 2)
        if kind > 0.93:
            radius = 1.2
        low, high = np.array([x0, y0]) + radius, np.array([x1, y1]) - radius
        if (low >= high).any():
            continue
        if rng.random() < 0.5:  # against a wall
            spot = rng.uniform(low, high)
            axis, end = int(rng.integers(0, 2)), int(rng.integers(0, 2))
            spot[axis] = (low, high)[end][axis]
        else:
            spot = np.clip(rng.normal(free.mean(0), 2.5), low, high)
        others = np.concatenate(taken)
        near_people = np.linalg.norm(free - spot, axis=1).min() < radius + CLEARANCE_M
        near_others = len(others) and (np.linalg.norm(others[:, :2] - spot, axis=1) < radius + others[:, 2]).any()
        if near_people or near_others:
            continue
        taken.append(np.array([[*spot, radius]]))
        yaw = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else 0.0
        place, material = (*spot, 0.0), materials.random(THINGS, 0.5, 0.8)
        parts.append(_thing(rng, materials, kind, place, size, yaw, material, indoor))


def _thing(rng, materials: Materials, kind: float, place, size, yaw: float, material: int, indoor: bool) -> Mesh:
    width, depth, tall = (float(n) for n in size)
    turn = shapes.yaw_matrix(yaw)
    if kind < 0.05:
        return shapes.box(place, size, yaw, material)
    if kind < 0.1:
        return shapes.cylinder(place, width / 2, tall, material)
    if kind < 0.3:  # a table or a shelf: board(s) on legs
        boards = [shapes.box((place[0], place[1], tall), (width, depth, 0.04), yaw, material)]
        for sx in (-1, 1):
            for sy in (-1, 1):
                leg = np.asarray(place) + turn @ np.array([sx * (width / 2 - 0.04), sy * (depth / 2 - 0.04), 0.0])
                boards.append(shapes.box(leg, (0.05, 0.05, tall), yaw, material))
        return shapes.Mesh.join(boards)
    if kind < 0.4:
        return shapes.cylinder(place, min(width, depth) / 2, tall, material)
    if kind < 0.47:
        return shapes.ball(place, min(width, depth, 0.8) / 2, material, rng.uniform(0.6, 1.3))
    if kind < 0.55:  # a plant or a tree: trunk and crown
        green = materials.add(
            r.BLOTCHES, np.array([0.06, 0.16, 0.04]) * rng.uniform(0.6, 2, 3), [0.15, 0.25, 0.06], noise=1.2
        )
        stem = tall * (0.5 if indoor else 1.2)
        crown = shapes.ball((*place[:2], stem * 0.8), min(width, depth) / 2, green, rng.uniform(0.8, 1.6))
        return shapes.Mesh.join([shapes.cylinder(place, 0.05, stem, material), crown])
    if kind < 0.65:  # two boxes stacked
        upper = np.array([width, depth, tall]) * rng.uniform(0.3, 0.8, 3)
        top = shapes.box((*place[:2], tall), upper, yaw + rng.normal(0, 0.3), materials.random(THINGS, 0.4, 0.8))
        return shapes.Mesh.join([shapes.box(place, size, yaw, material), top])
    if kind > 0.965:
        return shapes.wedge(place, (1.6, 1.2, rng.uniform(0.15, 0.6)), yaw, material)
    if kind > 0.93:
        start = np.asarray(place) - turn @ np.array([0.9, 0.0, 0.0])
        return shapes.stairs(start, 1.3, int(rng.integers(3, 7)), rng.uniform(0.14, 0.2), 0.28, yaw, material)
    return shapes.box(place, size, yaw, material)
