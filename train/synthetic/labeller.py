"""What a labeller says of a video: depth of unknown scale, masks, boxes and a guessed lens; nothing of the bodies.

It stands in for networks such as a monocular depth estimator and a video segmenter, whose errors it imitates: good
on the surface of a body, wrong about where the body is, how large the world is and how straight the walls are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from train.data.schema import UNLABELLED, ClipSample

GUESSED = ("depth_m", "person_mask", "intrinsics", "boxes_px", "visibility")
"""What a labeller says of a clip."""


@dataclass(frozen=True)
class LabellerConfig:
    """How wrong a labeller is. Standard deviations, of logarithms where they belong to factors.

    The depth it gives for true depth z at pixel x of frame k, seen on object o (a person or the rest), is

        d = s·exp(a_k) · w + (t + b_k)·m·s,   w = m · (z·f_o·(1 + g_k(x)) / m)^p · (1 + n_k(x))

    with m the clip's median depth; s, t, p and f_o drawn once for the clip; a_k and b_k small drifts; g a smooth
    field that bends walls; n noise of a pixel or two. Depth is blurred where it jumps, and has holes.
    """

    scale: float = 0.3
    """log s: the size of the world."""
    shift: float = 0.08
    """t: a constant added to depth, as a share of the scaled median."""
    scale_drift: float = 0.015
    """a_k, from frame to frame."""
    shift_drift: float = 0.01
    """b_k, from frame to frame."""
    power: float = 0.1
    """log p: how much the far is stretched against the near."""
    object_factor: float = 0.03
    """log f_o: people are set too near or too far, each as a whole."""
    bend: float = 0.035
    """g: a smooth random field, mostly the same in all frames."""
    bend_cells: int = 4
    """Cells of the field along the longer side."""
    bend_on_people: float = 0.25
    """Factor on the field on people, whose shape a labeller knows better than that of walls."""
    bend_flicker: float = 0.2
    """Share of the field that is drawn again for each frame."""
    noise: float = 0.006
    """n."""
    edge_blur_px: float = 0.6
    """Blur of the depth at jumps, which gives pixels that belong to neither side."""
    edge_jump: float = 0.1
    """From the nearest to the farthest of nine neighbours, as a share, so that it counts as a jump."""
    holes: float = 0.01
    """Share of each frame where depth is missing, in blobs."""
    least_depth: float = 0.3
    """The shift never takes the nearest depth below this share of what it was."""
    mask_wobble_px: float = 1.0
    """How far the mask's edge strays, at most twice this."""
    missing_frame: float = 0.01
    """Chance that the person is not found in a frame."""
    focal: float = 0.1
    """The lens's focal length, one guess for the clip."""


def pseudo_labels(
    sample: ClipSample,
    seed: int | np.random.Generator,
    config: LabellerConfig = LabellerConfig(),
    joints_px: np.ndarray | None = None,
) -> ClipSample:
    """The clip with what a labeller says of it, about its first person; everything else is blank.

    Looks at the true depth, masks and focal length alone. `joints_px` (1, frames, 24, 2) are joints that somebody
    else has found in the images; without them they are not known (NaN).
    """
    rng = np.random.default_rng(seed)
    intrinsics = sample.intrinsics.copy()
    intrinsics[:, [0, 1], [0, 1]] *= np.exp(rng.normal(0, config.focal))
    mask = np.stack([_wobble(frame == 1, rng, config.mask_wobble_px) for frame in sample.person_mask])
    mask[rng.random(sample.frames) < config.missing_frame] = 0
    boxes = np.stack([_box(frame) for frame in mask])[None]
    nowhere = np.full((1, sample.frames, 24, 2), np.nan, np.float32)
    return replace(
        sample,
        depth_m=_guess_depth(sample.depth_m, sample.person_mask, rng, config),
        person_mask=mask,
        intrinsics=intrinsics,
        boxes_px=boxes,
        visibility=np.greater(boxes[..., 2], 0).astype(np.float32),
        world_from_camera=np.tile(np.eye(4, dtype=np.float32), (sample.frames, 1, 1)),
        body_rotations=np.tile(np.eye(3, dtype=np.float32), (1, sample.frames, 24, 1, 1)),
        translation_camera=np.zeros((1, sample.frames, 3), np.float32),
        betas=np.zeros((1, 10), np.float32),
        joints_px=nowhere if joints_px is None else joints_px,
        pseudo=GUESSED if joints_px is None else (*GUESSED, "joints_px"),
        unknown=UNLABELLED,
    )


def _guess_depth(
    depth_m: np.ndarray, objects: np.ndarray, rng: np.random.Generator, config: LabellerConfig
) -> np.ndarray:
    """Depth as LabellerConfig says, 0 where it is not known."""
    frames, height, width = depth_m.shape
    known = depth_m > 0
    if not known.any():
        return depth_m.copy()
    middle = float(np.median(depth_m[known]))
    scale, power = np.exp(rng.normal(0, [config.scale, config.power]))
    scales = scale * np.exp(np.cumsum(rng.normal(0, config.scale_drift, frames)))
    shifts = rng.normal(0, config.shift) + np.cumsum(rng.normal(0, config.shift_drift, frames))
    factors = np.exp(rng.normal(0, config.object_factor, 256)).astype(np.float32)
    factors[0] = 1.0
    shared = _field(rng, height, width, config.bend_cells)
    out = np.zeros_like(depth_m)
    for k in range(frames):
        own = _field(rng, height, width, config.bend_cells)
        bend = config.bend * (np.sqrt(1 - config.bend_flicker**2) * shared + config.bend_flicker * own)
        bend = np.where(objects[k] > 0, config.bend_on_people, 1) * bend
        noise = config.noise * rng.standard_normal((height, width))
        depth = depth_m[k] * factors[objects[k]] * (1 + bend)
        depth = middle * (depth / middle) ** power * (1 + noise) * scales[k]
        depth = _mix_edges(depth.astype(np.float32), known[k], config)
        visible = known[k] & ~_blobs(rng, height, width, config.holes)
        if visible.any():
            least = (config.least_depth - 1) * float(depth[visible].min())
            out[k][visible] = (depth + max(shifts[k] * middle * scale, least))[visible]
    return out


def _field(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """A smooth random image of unit variance or a little less, `cells` along its longer side."""
    step = max(height, width) / cells
    coarse = rng.standard_normal((int(np.ceil(height / step)) + 1, int(np.ceil(width / step)) + 1))
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _blobs(rng: np.random.Generator, height: int, width: int, share: float) -> np.ndarray:
    """Random patches that cover a share of the image."""
    field = _field(rng, height, width, 16)
    return field > np.quantile(field, 1 - share)


def _mix_edges(depth: np.ndarray, known: np.ndarray, config: LabellerConfig) -> np.ndarray:
    """Depth whose jumps are smeared over the pixels on both sides; what is not known takes no part."""
    around = np.ones((3, 3), np.uint8)
    near = cv2.erode(np.where(known, depth, 1e6).astype(np.float32), around)
    far = cv2.dilate(np.where(known, depth, 0).astype(np.float32), around)
    jump = known & np.greater(far, (1 + config.edge_jump) * near)
    weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), config.edge_blur_px)
    mixed = cv2.GaussianBlur(np.where(known, depth, 0), (0, 0), config.edge_blur_px) / np.maximum(weight, 1e-6)
    return np.where(jump, mixed, depth)


def _wobble(person: np.ndarray, rng: np.random.Generator, wobble_px: float) -> np.ndarray:
    """A mask whose outline strays smoothly in and out: the zero level of the distance to it, plus a field."""
    if not person.any():
        return np.zeros_like(person, np.uint8)
    inside = cv2.distanceTransform(person.astype(np.uint8), cv2.DIST_L2, 3)
    outside = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 3)
    distance = np.where(person, inside - 0.5, 0.5 - outside)
    stray = wobble_px * (0.4 * rng.standard_normal() + 0.8 * _field(rng, *person.shape, cells=24))
    return (distance + np.clip(stray, -2 * wobble_px, 2 * wobble_px) > 0).astype(np.uint8)


def _box(mask: np.ndarray) -> np.ndarray:
    """x0, y0, x1, y1 of a mask, zeros where it is empty."""
    if not mask.any():
        return np.zeros(4, np.float32)
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
