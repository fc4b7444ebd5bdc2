"""The network over a clip, window by window: dense maps go to disk as they come, little is kept in memory."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from unish.fusion.intrinsics import frame_focals
from unish.fusion.motion import Bodies
from unish.fusion.windows import WindowPrediction, sample_pixels, sample_uv
from unish.geometry.camera import focal_px_from_half_diagonal
from unish.geometry.metric import clip_norm
from unish.pipeline.options import NetworkChoices
from unish.pipeline.window_inputs import Prepared
from unish.structures import Clip, PersonTrack
from unish.utils.disk_arrays import new_array, release_pages
from unish.video.preprocess import FrameTransform, bbox_info, frame_transform, unit_images

if TYPE_CHECKING:
    from unish.models.scene import SceneFeatures
    from unish.models.unish import UniSH

PERSON_MARGIN = 0.015
"""Samples nearer to a person than this share of the frame's long side do not count as still."""


@dataclass
class Forward:
    """What the network has said of a clip so far."""

    model: "UniSH"
    clip: Clip
    tracks: tuple[PersonTrack, ...]
    windows: tuple[range, ...]
    frame: FrameTransform
    images: UInt8[np.ndarray, "frames height width 3"]
    person_mask: UInt8[np.ndarray, "frames height width"]
    depth: Float32[np.ndarray, "rows height width"]
    """Of the windows one after the other, network units."""
    confidence: Float32[np.ndarray, "rows height width"]
    passes: list[WindowPrediction] = field(default_factory=list)
    bodies: list[dict[int, Bodies]] = field(default_factory=list)
    """Of every window: index of the track → its body."""
    focals: list[np.ndarray] = field(default_factory=list)
    choices: NetworkChoices = NetworkChoices()  # noqa: RUF009 (frozen)

    @staticmethod
    def begin(
        model: "UniSH",
        clip: Clip,
        tracks: tuple[PersonTrack, ...],
        windows: tuple[range, ...],
        choices: NetworkChoices = NetworkChoices(),  # noqa: B008 (frozen)
    ) -> "Forward":
        """Room for everything that is to come. Raises `InputError` when there is none."""
        scene = model.config.scene
        frame = frame_transform(clip.frames.shape[2], clip.frames.shape[1], scene.image_long_side_px, scene.patch_size)
        size, rows = (frame.height_px, frame.width_px), sum(len(window) for window in windows)
        return Forward(
            model, clip, tracks, windows, frame,
            images=new_array((len(clip.frames), *size, 3), np.uint8),
            person_mask=new_array((len(clip.frames), *size), np.uint8),
            depth=new_array((rows, *size), np.float32),
            confidence=new_array((rows, *size), np.float32),
            choices=choices,
        )  # fmt: skip

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def fit_shift(self) -> bool:
        """Whether the network's depth is known up to a shift."""
        return not self.model.config.scene.ray_prior

    @property
    def uv(self) -> Float[np.ndarray, "samples 2"]:
        """Where a pass's samples lie, in half diagonals."""
        return sample_uv(self.frame.height_px, self.frame.width_px)

    def rows(self, window: int) -> slice:
        """Where a window's maps lie in `depth` and `confidence`."""
        start = sum(len(w) for w in self.windows[:window])
        return slice(start, start + len(self.windows[window]))

    def finished(self) -> int:
        """How many frames from the beginning the finished windows cover."""
        return self.windows[len(self.passes) - 1].stop if self.passes else 0


def run_window(work: Forward, given: Prepared, given_focal: float | None = None) -> None:
    """Run the next window, that was made ready. `given_focal`: half diagonals, before the network's gain."""
    frames = given.frames
    scene = work.model.scene(unit_images(given.images, work.device)[None])
    rows = work.rows(len(work.passes))
    work.depth[rows] = scene.points_camera[0, ..., 2].float().cpu().numpy()
    work.confidence[rows] = scene.confidence[0].float().cpu().numpy()

    people = np.zeros(given.images.shape[:3], bool)
    for label, track in enumerate(work.tracks, start=1):
        shown = track_pixels(track, frames, work.frame, work.clip.frames.shape[1:3])
        if track.masks is not None:
            work.person_mask[frames[0] : frames[-1] + 1][shown] = label
        people |= shown
    found = _sampled(scene, frames, people)

    focals = frame_focals(*_samples(scene), work.uv, work.fit_shift, work.choices.confidence)
    so_far = np.concatenate([*work.focals, focals])
    focal = given_focal or (float(np.nanmedian(so_far)) if np.isfinite(so_far).any() else 1.0)
    bodies, votes = _people(work, scene, given, focal) if given.here else ({}, ())
    # The lists grow together, at the very end: a window that is broken off leaves nothing behind.
    work.focals.append(focals)
    work.bodies.append(bodies)
    work.passes.append(replace(found, votes=votes))
    release_pages(work.clip.frames, work.images, work.person_mask, work.depth, work.confidence)


def run_bridge(work: Forward, frames: Int[np.ndarray, "frames"]) -> WindowPrediction:
    """A pass over frames of two visits to one place, for its scene alone; after the windows."""
    scene = work.model.scene(unit_images(work.images[frames], work.device)[None])
    people = np.zeros((len(frames), work.frame.height_px, work.frame.width_px), bool)
    for track in work.tracks:
        people |= track_pixels(track, frames, work.frame, work.clip.frames.shape[1:3])
    return _sampled(scene, frames, people)


def _people(
    work: Forward, scene: "SceneFeatures", given: Prepared, focal: float
) -> tuple[dict[int, Bodies], tuple[tuple[int, float, float], ...]]:
    """The bodies of the people in a window, by the index of their track, and what each says of the scale."""
    frame = work.frame
    focal_px = focal_px_from_half_diagonal(torch.full((len(given.frames),), focal), frame.width_px, frame.height_px)
    info = bbox_info(given.boxes, focal_px, frame.width_px, frame.height_px, work.choices.box_scale)
    crops, info = given.crops[None].to(work.device), info[None].to(work.device)
    found = work.model.people(scene, crops, info, work.clip.fps)
    norm = float(clip_norm(scene.points_camera, scene.confidence, work.choices.confidence)[0])
    bodies, votes = {}, []
    for place, index in enumerate(given.here):
        seen = work.tracks[index].present[given.frames]
        parts = (found.body_rotations[0, place], found.translation_camera[0, place], found.betas[0, place])
        bodies[index] = Bodies(*(part.float().cpu() for part in parts), seen=int(seen.sum()))
        votes.append((work.tracks[index].id, float(found.scale[0, place]) / norm, float(seen.mean())))
    return bodies, tuple(votes)


def _samples(scene: "SceneFeatures") -> tuple[Tensor, Tensor]:
    """Points and confidence of the pixels that a pass keeps."""
    rows, columns = sample_pixels(*scene.confidence.shape[2:])
    return scene.points_camera[0, :, rows, columns].float(), scene.confidence[0, :, rows, columns].float()


def _sampled(
    scene: "SceneFeatures", frames: np.ndarray, people: Bool[np.ndarray, "frames height width"]
) -> WindowPrediction:
    rows, columns = sample_pixels(*people.shape[1:])
    still = np.stack([_still(mask) for mask in people])[:, rows, columns]
    points, confidence = (part.cpu().numpy() for part in _samples(scene))
    return WindowPrediction(frames, scene.world_from_camera[0].cpu().double().numpy(), points, confidence, still)


def _still(person: np.ndarray) -> Bool[np.ndarray, "height width"]:
    """Pixels that are well clear of every person."""
    reach = max(1, round(PERSON_MARGIN * max(person.shape)))
    near = cv2.dilate((person > 0).astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return near == 0


def track_pixels(
    track: PersonTrack, frames: np.ndarray, frame: FrameTransform, clip_size: tuple[int, int]
) -> Bool[np.ndarray, "frames height width"]:
    """Pixels of the network's frames that show a person: by the masks, else all of the box."""
    if track.masks is not None:
        return frame.map_masks(track.masks[frames], clip_size)
    shown = np.zeros((len(frames), frame.height_px, frame.width_px), bool)
    boxes = frame.map_boxes(torch.from_numpy(track.boxes_px[frames])).numpy()
    for mask, box, present in zip(shown, boxes, track.present[frames], strict=True):
        x0, y0, x1, y1 = np.round(np.clip(box, 0, [frame.width_px, frame.height_px] * 2)).astype(int)
        mask[y0:y1, x0:x1] = present
    return shown
