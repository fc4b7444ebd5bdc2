"""Which clips are worth learning from: one whole person, large enough, seen throughout, at a steady rate.

The paper's criteria are shot continuity (see `shots`), one person, person size and no truncation; its thresholds are
not published, so each is a field here.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from unish.errors import InputError
from unish.structures import PersonTrack

REASONS = {
    "too_short": "stretches of a shot shorter than a clip",
    "slow": "too few frames per second in the video",
    "nobody": "nobody found",
    "several_people": "more people than wanted",
    "absent": "a person missing in too many frames",
    "too_small": "a person too small",
    "truncated": "a person cut off by the border of the image",
    "jump": "a box that jumps between frames, as when two people are taken for one",
}
"""Name → what it means."""


@dataclass(frozen=True)
class FilterConfig:
    """What a clip must be like to be labelled."""

    people_max: int = 1
    """Most people in a clip; everybody in it must pass the filters."""
    least_present_share: float = 0.9
    """Share of the frames in which a person is seen."""
    least_height_share: float = 0.25
    """Median height of a person's box, as a share of the image's height."""
    least_area_share: float = 0.01
    """Median area of a person's mask (of the box, without masks), as a share of the image."""
    most_truncated_share: float = 0.1
    """Share of the frames in which a person's box or mask may touch the border of the image."""
    border_share: float = 0.005
    """Nearer to the border than this share of the image's longer side is touching it."""
    most_step: float = 0.5
    """Farthest that a box's middle moves from one frame to the next, in longer sides of the box, at 6 fps."""
    most_growth: float = 1.7
    """Most that the longer side of a box grows or shrinks from one frame to the next, as a ratio, at 6 fps."""
    least_fps_share: float = 0.8
    """Slowest video: frames per second, as a share of those asked for."""


def check_filters(config: FilterConfig) -> None:
    """Raises InputError, naming the flag, for thresholds that make no sense."""
    shares = ("least_present_share", "least_height_share", "least_area_share", "most_truncated_share")
    for name in (*shares, "border_share", "least_fps_share"):
        if not 0 <= getattr(config, name) <= 1:
            raise InputError(f"--{name.replace('_', '-')} should be within 0..1, got {getattr(config, name)}.")
    if not 1 <= config.people_max <= 255:  # a mask holds one byte a pixel
        raise InputError(f"--people-max should be within 1..255, got {config.people_max}.")
    if config.most_step <= 0:
        raise InputError(f"--most-step should be above 0, got {config.most_step}.")
    if config.most_growth < 1:
        raise InputError(f"--most-growth should be at least 1, got {config.most_growth}.")


def reason_against(
    tracks: tuple[PersonTrack, ...], frame_shape: tuple[int, int], fps: float, wanted_fps: float, config: FilterConfig
) -> str | None:
    """Why a clip is rejected (a name of `REASONS`), or None for a good one.

    `frame_shape` is (height, width) of the images that the boxes are in.
    """
    if fps < config.least_fps_share * wanted_fps:
        return "slow"
    if not tracks:
        return "nobody"
    if len(tracks) > config.people_max:
        return "several_people"
    checks = {
        "absent": lambda track: track.present.mean() < config.least_present_share,
        "too_small": lambda track: _is_small(track, frame_shape, config),
        "truncated": lambda track: (
            truncated(track, frame_shape, config.border_share).mean() > config.most_truncated_share
        ),
        "jump": lambda track: _jumps(track, 6.0 / fps, config),
    }
    return next((name for name, fails in checks.items() if any(fails(track) for track in tracks)), None)


def truncated(track: PersonTrack, frame_shape: tuple[int, int], border_share: float) -> np.ndarray:
    """Whether the person touches the border of the image, in each frame in which there is one to see: (present,)."""
    height, width = frame_shape
    margin = border_share * max(height, width)
    x0, y0, x1, y1 = track.boxes_px[track.present].T
    touches = (x0 <= margin) | (y0 <= margin) | (x1 >= width - margin) | (y1 >= height - margin)
    if track.masks is not None:
        masks = track.masks[track.present]
        edges = (masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1])
        touches |= np.any([edge.any(axis=1) for edge in edges], axis=0)
    return touches


def _is_small(track: PersonTrack, frame_shape: tuple[int, int], config: FilterConfig) -> bool:
    boxes = track.boxes_px[track.present]
    height_share = np.median(boxes[:, 3] - boxes[:, 1]) / frame_shape[0]
    if track.masks is not None:
        shown = track.masks[track.present]
        areas = shown.mean(axis=(1, 2))
        areas = areas[areas > 0]  # bridged frames have no mask
    else:
        areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / np.prod(frame_shape)
    area_share = np.median(areas) if len(areas) else 0.0
    return bool(height_share < config.least_height_share or area_share < config.least_area_share)


def _jumps(track: PersonTrack, interval: float, config: FilterConfig) -> bool:
    """`interval`: time between frames in sixths of a second; slower clips may move more between two frames."""
    boxes = track.boxes_px[track.present]
    if len(boxes) < 2:
        return False
    gaps = np.diff(np.flatnonzero(track.present)) * max(1.0, interval)
    middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, _longer_sides(boxes)
    steps = np.linalg.norm(np.diff(middles, axis=0), axis=1) / np.minimum(sides[1:], sides[:-1])
    growth = np.abs(np.diff(np.log(sides)))
    return bool(np.any(steps > config.most_step * gaps) or np.any(growth > np.log(config.most_growth) * gaps))


def _longer_sides(boxes_px: Float[np.ndarray, "frames 4"]) -> Float[np.ndarray, "frames"]:
    return np.maximum((boxes_px[:, 2:] - boxes_px[:, :2]).max(axis=1), 1.0)
