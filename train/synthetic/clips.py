"""One seed, one clip: a scene, people, a camera, and every frame of it with exact labels."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from train.data.schema import ClipSample
from train.synthetic import cameras, performers, scenes
from train.synthetic.assets import NO_ASSETS, Assets
from train.synthetic.backdrops import SHARE as BACKDROP_SHARE
from train.synthetic.backdrops import Backdrop
from train.synthetic.camera_effects import centre_motion_px, roll_shutter, rolled_points_px, row_shifts_px
from train.synthetic.motion_blur import motion_field_px
from train.synthetic.painting import FabricTable
from train.synthetic.renderer import Renderer, coverage
from train.synthetic.shading import (
    COLOR0,
    COLOR1,
    LINE,
    MATERIAL_COLUMNS,
    NOISE,
    NOISE_SCALE,
    SCALE_U,
    SCALE_V,
)
from train.synthetic.worlds import DEFAULT, World, named_world
from unish.body import BodyModel, open_body
from unish.body.lbs import joint_transforms
from unish.video import TRAINED_FPS

MAX_VALID_DEPTH_M = 30.0
CLOTH = np.zeros(MATERIAL_COLUMNS, np.float32)
"""Row of the material table for fabrics: white, creased by the noise; the fabric's tile gives the colour."""
CLOTH[COLOR0 : COLOR0 + 3] = CLOTH[COLOR1 : COLOR1 + 3] = 1.0
CLOTH[SCALE_U], CLOTH[SCALE_V], CLOTH[LINE], CLOTH[NOISE], CLOTH[NOISE_SCALE] = 1.0, 1.0, 0.02, 0.35, 0.6


@cache
def _default_wardrobe() -> performers.Wardrobe:
    return performers.Wardrobe.of(open_body())


def generate_clip(
    seed: int,
    frames: int = 8,
    fps: float = TRAINED_FPS,
    long_side_px: int = 336,
    aspect: str | None = None,
    people_count: int | None = None,
    domain: str | None = None,
    script: tuple[str, ...] = (),
    camera: str | None = None,
    clear_view: bool = False,
    body: BodyModel | None = None,
    world: str | World = DEFAULT,
    assets: Assets = NO_ASSETS,
) -> ClipSample:
    """Renders the clip of a seed. The same arguments give the same numbers.

    `world` says what scenes, people, cameras and images are like (see worlds.py). The sample's coordinates have z
    up and the floor at z = 0. Depth beyond 30 m and the sky are 0. `aspect` is one of cameras.ASPECTS, `domain`
    "indoor" or "outdoor", `camera` one of cameras.KINDS (only the default world looks at it), `script` the first
    person's actions in turn (see actions.ACTIONS, or climbing.CLIMB alone); what is not given is drawn. With
    `clear_view` nothing stands between camera and people. `body` replaces the open body. `assets` are motion, garments
    and photographs to draw from besides; depth of a photograph is 0.
    """
    world = named_world(world) if isinstance(world, str) else world
    rng = world.generator(seed)
    wardrobe = _default_wardrobe() if body is None else performers.Wardrobe.of(body)
    times = np.arange(frames) / fps
    domain = domain or str(rng.choice(("indoor", "outdoor"), p=(world.indoor, 1 - world.indoor)))
    pinhole = (
        world.rig.pinhole(rng, long_side_px, aspect) if world.rig else cameras.random_pinhole(rng, long_side_px, aspect)
    )
    count = people_count or int(rng.choice((1, 2, 3), p=world.people))
    cast = _cast(rng, world, wardrobe, times, count, script, assets)
    tracks = np.stack([person.vertices[..., :2].mean(1) for person in cast])
    tall = float(np.ptp(cast[0].vertices[..., 2], axis=1).mean())
    if world.rig:
        path = world.rig.path(rng, times, pinhole, tracks, tall)
    else:
        path = cameras.random_path(rng, times, pinhole, tracks, tall, domain == "indoor", camera)
    floor = np.concatenate([*(person.track[::6] for person in cast), path[:, :2, 3]])
    if clear_view or world.clear_view:
        sight = np.linspace(0, 1, 12)[:, None, None] * (tracks[0] - path[:, :2, 3]) + path[:, :2, 3]
        floor = np.concatenate([floor, sight[:, ::3].reshape(-1, 2)])
    bounds = (*(floor.min(0) - 0.3), *(floor.max(0) + 0.3), float(path[:, 2, 3].max()))
    seats = [(*p.track[0], p.seat - 0.004, p.heading) for p in cast if p.seat is not None]
    backdrop, open_sides = None, frozenset()
    if assets.backdrops is not None and rng.random() < BACKDROP_SHARE:
        backdrop = assets.backdrops.draw(rng, pinhole.intrinsics[0, 0])
        open_sides = _open_sides(rng, tracks.mean((0, 1)) - path[:, :2, 3].mean(0))
    stairs = [person.stairs for person in cast if person.stairs is not None]
    scene = scenes.build_scene(rng, domain, bounds, floor, seats, open_sides, stairs)
    if world.finish:
        scene = world.finish.apply(rng, scene)
    renderer, parts, first_fabrics = _renderer(rng, scene, cast, wardrobe, backdrop, [*tracks.mean((0, 1)), 0.9])
    shots = []
    for k in range(frames):
        meshes = []
        for index, person in enumerate(cast):
            meshes.append(wardrobe.mesh(index, person.vertices[k], person.attire))
            if person.attire is not None and person.attire_vertices is not None:
                meshes.append(person.attire.mesh(index, person.attire_vertices[k], first_fabrics[index]))
        shots.append(renderer.render(meshes, parts, pinhole.intrinsics, path[k], pinhole.width, pinhole.height))
    images = np.stack([shot.image for shot in shots])
    mask = np.stack([shot.objects for shot in shots])
    depth = np.stack([shot.depth_m for shot in shots])
    labels = [_labels(person, wardrobe, path, pinhole, mask == index + 1) for index, person in enumerate(cast)]
    stacked = {name: np.stack([label[name] for label in labels]).astype(np.float32) for name in labels[0]}
    if world.effects:
        motion_px = centre_motion_px(path, pinhole.intrinsics[0, 0])
        blur_px = motion_px
        if world.effects.each_its_way:
            blur_px = motion_field_px(depth, mask, stacked["joints_px"], pinhole.intrinsics, path)
        if world.effects.readout_s[1] > 0:
            shifts_px = row_shifts_px(motion_px, fps, rng.uniform(*world.effects.readout_s), pinhole.height)
            images, mask, depth = (
                roll_shutter(array, shifts_px, smooth)
                for array, smooth in ((images, True), (mask, False), (depth, False))
            )
            blur_px = roll_shutter(blur_px, shifts_px, True) if blur_px.ndim == 4 else blur_px
            stacked |= _rolled(stacked, shifts_px, pinhole)
        images = world.effects.apply(rng, images, blur_px, fps)
    return ClipSample(
        clip_id=f"{'synthetic' if world == DEFAULT else world.name}-{seed:08d}",
        fps=float(fps),
        images=images,
        depth_m=np.where(depth <= MAX_VALID_DEPTH_M, depth, 0).astype(np.float32),
        person_mask=mask,
        intrinsics=np.tile(pinhole.intrinsics, (frames, 1, 1)).astype(np.float32),
        world_from_camera=path.astype(np.float32),
        betas=np.stack([person.betas for person in cast]).astype(np.float32),
        body_rotations=stacked["body_rotations"],
        translation_camera=stacked["translation_camera"],
        boxes_px=stacked["boxes_px"],
        visibility=stacked["visibility"],
        joints_px=stacked["joints_px"],
        body=wardrobe.body.name,
    )


def _cast(
    rng: np.random.Generator, world: World, wardrobe: performers.Wardrobe, times, count: int, script: tuple[str, ...],
    assets: Assets,
) -> list[performers.Performer]:  # fmt: skip
    """People who move and dress as the world's do, on the floor about the origin; the first follows `script`."""
    times = times * world.tempo
    cast = []
    for index in range(count):
        scripted = bool(script) and index == 0
        actions = script if scripted else world.script(rng, float(times[-1]))
        person = performers.perform(
            rng, wardrobe, times, actions, replace(assets, motions=None) if scripted else assets
        )
        if world.clothes:
            person = replace(person, outfit=world.clothes.dress(rng, person.outfit, wardrobe))
        cast.append(person)
    return performers.place(rng, cast)


def _open_sides(rng: np.random.Generator, view_xy: np.ndarray) -> frozenset[str]:
    """Sides of the scene through which a backdrop is seen: the one that the camera looks at, several, or all."""
    axis = int(np.abs(view_xy).argmax())
    facing = ("x", "y")[axis] + ("1" if view_xy[axis] > 0 else "0")
    if rng.random() < 0.4:
        return frozenset(scenes.SIDES)
    return frozenset({facing, *(side for side in scenes.SIDES if rng.random() < 0.3)})


def _renderer(
    rng: np.random.Generator, scene: scenes.Scene, cast: list[performers.Performer], wardrobe: performers.Wardrobe,
    backdrop: Backdrop | None, focus: list[float],
) -> tuple[Renderer, list[np.ndarray], list[int]]:  # fmt: skip
    """The renderer of a scene, the body part of every vertex of its people's meshes, and each one's first fabric among
    the materials."""
    materials, light = scene.materials, scene.light
    fabrics, first, parts = [], [], []
    for person in cast:
        first.append(len(materials) + len(fabrics))
        parts.append(wardrobe.parts)
        if person.attire is not None:
            fabrics += person.attire.fabrics
            parts.append(np.zeros(len(person.attire.corners), np.uint8))
    table = FabricTable.of(fabrics, len(materials)) if fabrics else None
    if fabrics:
        materials = np.concatenate([materials, np.tile(CLOTH, (len(fabrics), 1))])
    if backdrop is not None:
        light = replace(light, ambient=light.ambient * np.sqrt(backdrop.tint))
    outfits = np.stack([person.painted for person in cast])
    renderer = Renderer(scene.mesh, materials, outfits, light, scene.tone, focus, rng, table, backdrop)
    return renderer, parts, first


def _labels(
    person: performers.Performer, wardrobe: performers.Wardrobe, path, pinhole: cameras.PinholeCamera, seen
) -> dict[str, np.ndarray]:
    """A person's SMPL-format parameters in each camera, its boxes, and how much of it is seen."""
    frames = len(path)
    turn, shift = path[:, :3, :3].transpose(0, 2, 1), path[:, :3, 3]
    pelvis = wardrobe.body.pelvis_offset(torch.from_numpy(person.betas).float()).numpy().astype(np.float64)
    rotations = person.rotations.copy()
    rotations[:, 0] = turn @ rotations[:, 0]
    # A rigid motion (R, T) takes SMPL's translation t to R (J0 + t) + T - J0, as the root turns about J0.
    moved = np.einsum("tij,tj->ti", turn, pelvis + person.translation - shift) - pelvis
    boxes, visibility = np.zeros((frames, 4)), np.zeros(frames)
    joints_px = _projected_joints(person, wardrobe.body, rotations, moved, pinhole)
    size = np.array([pinhole.width, pinhole.height, pinhole.width, pinhole.height])
    for k in range(frames):
        vertices, faces = person.silhouette(k, wardrobe.faces)
        points = (vertices - shift[k]) @ turn[k].T
        front = points[points[:, 2] > 0.1]
        if len(front) == 0:
            continue
        pixels = front[:, :2] / front[:, 2:] * pinhole.intrinsics[0, 0] + pinhole.intrinsics[:2, 2]
        box = np.clip(np.concatenate([pixels.min(0), pixels.max(0)]), 0, size)
        if box[2] <= box[0] or box[3] <= box[1]:
            continue
        boxes[k] = box
        whole = coverage(points, faces, pinhole.intrinsics)
        visibility[k] = min(1.0, float(seen[k].sum()) / whole) if whole > 0 else 0.0
    return {
        "body_rotations": rotations, "translation_camera": moved, "boxes_px": boxes, "visibility": visibility,
        "joints_px": joints_px,
    }  # fmt: skip


def _rolled(
    labels: dict[str, np.ndarray], shifts_px: np.ndarray, pinhole: cameras.PinholeCamera
) -> dict[str, np.ndarray]:
    """Joints and boxes in the pixels of a rolling shutter; boxes by the middles of their sides."""
    boxes = labels["boxes_px"]
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    sides = np.stack([boxes[..., 0], middle[..., 1], boxes[..., 2], middle[..., 1],
                      middle[..., 0], boxes[..., 1], middle[..., 0], boxes[..., 3]], -1)  # fmt: skip
    sides = rolled_points_px(sides.reshape(*boxes.shape[:-1], 4, 2), shifts_px)
    moved = np.stack([sides[..., 0, 0], sides[..., 2, 1], sides[..., 1, 0], sides[..., 3, 1]], -1)
    moved = np.clip(moved, 0, [pinhole.width, pinhole.height] * 2)
    seen = (boxes[..., 2] > boxes[..., 0])[..., None]
    return {
        "joints_px": rolled_points_px(labels["joints_px"], shifts_px).astype(np.float32),
        "boxes_px": np.where(seen, moved, 0).astype(np.float32),
    }


def _projected_joints(
    person: performers.Performer,
    body: BodyModel,
    rotations: np.ndarray,
    translation: np.ndarray,
    pinhole: cameras.PinholeCamera,
) -> np.ndarray:
    """(frames, 24, 2) pixels of a person's joints, NaN behind the camera."""
    rest = body.rest_joints(torch.from_numpy(person.betas).float())
    parents = tuple(int(parent) for parent in body.parents)
    joints = joint_transforms(torch.from_numpy(rotations).float(), rest, parents)[1].numpy() + translation[:, None]
    pixels = joints[..., :2] / joints[..., 2:] * pinhole.intrinsics[0, 0] + pinhole.intrinsics[:2, 2]
    return np.where(joints[..., 2:] > 0.1, pixels, np.nan)
