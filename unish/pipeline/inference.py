"""One forward pass: the scene and the people of a window as the network predicts them, in network units."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor

from unish.fusion.intrinsics import frame_focals
from unish.fusion.motion import WindowBody
from unish.fusion.windows import WindowPrediction, sample_pixels
from unish.geometry.camera import focal_px_from_half_diagonal
from unish.geometry.metric import clip_norm
from unish.pipeline.window_inputs import ClipInputs, WindowInputs
from unish.video.preprocess import bbox_info, unit_images

if TYPE_CHECKING:
    from unish.models.scene_branch import SceneFeatures

PERSON_MARGIN = 0.015
"""Samples nearer to a person than this share of the frame's long side do not count as static."""


@dataclass(frozen=True)
class WindowResult:
    """All that is kept of the forward pass over one window."""

    prediction: WindowPrediction
    images: UInt8[np.ndarray, "frames height width 3"]
    depth: Float32[np.ndarray, "frames height width"]
    confidence: Float32[np.ndarray, "frames height width"]
    person_mask: UInt8[np.ndarray, "frames height width"]
    """k for the pixels of track k, counted from 1, where the track has masks."""
    uncertain_mask: UInt8[np.ndarray, "frames height width"]
    """The same of `PersonTrack.uncertain_masks`."""
    bodies: Mapping[int, WindowBody]
    """Index of the track → its body."""
    focals: Float[np.ndarray, "frames"]
    """That fit each frame, in half diagonals; NaN where nothing is valid."""


def run_window(inputs: ClipInputs, window: WindowInputs, previous_focals: Float[np.ndarray, "_"]) -> WindowResult:
    """The forward pass over a window; `previous_focals` are those of the windows before it."""
    scene = inputs.model.scene(unit_images(window.images, inputs.device)[None])
    people = np.zeros(window.images.shape[:3], bool)
    person_mask, uncertain_mask = (np.zeros(window.images.shape[:3], np.uint8) for _ in range(2))
    for label, track in enumerate(inputs.tracks, start=1):
        shown = inputs.track_pixels(track, window.frames)
        if track.masks is not None:
            person_mask[shown] = label
        if track.uncertain_masks is not None:
            uncertain_mask[inputs.at_pixels(track.uncertain_masks[window.frames])] = label
        people |= shown
    focals = frame_focals(*_samples(scene), inputs.uv, inputs.fit_shift, inputs.choices.confidence)
    bodies, scale_estimates = {}, ()
    if window.track_indices:
        focal = inputs.known_focal or _median_focal(np.concatenate([previous_focals, focals]))
        bodies, scale_estimates = _people(inputs, window, scene, focal)
    return WindowResult(
        prediction=replace(_prediction(scene, window.frames, people), scale_estimates=scale_estimates),
        images=window.images,
        depth=scene.points_camera[0, ..., 2].float().cpu().numpy(),
        confidence=scene.confidence[0].float().cpu().numpy(),
        person_mask=person_mask,
        uncertain_mask=uncertain_mask,
        bodies=bodies,
        focals=focals,
    )


def run_loop_pass(
    inputs: ClipInputs, images: UInt8[np.ndarray, "frames height width 3"], frames: Int[np.ndarray, "frames"]
) -> WindowPrediction:
    """A loop-closure pass over frames of two visits to one place, for its scene alone."""
    scene = inputs.model.scene(unit_images(images, inputs.device)[None])
    people = np.zeros(images.shape[:3], bool)
    for track in inputs.tracks:
        people |= inputs.track_pixels(track, frames)
    return _prediction(scene, frames, people)


def _median_focal(focals: Float[np.ndarray, "_"]) -> float:
    return float(np.nanmedian(focals)) if np.isfinite(focals).any() else 1.0


def _people(
    inputs: ClipInputs, window: WindowInputs, scene: "SceneFeatures", focal: float
) -> tuple[dict[int, WindowBody], tuple[tuple[int, float, float], ...]]:
    """The bodies of the people in a window, by the index of their track, and the scale estimate of each."""
    width, height = inputs.transform.width_px, inputs.transform.height_px
    focal_px = focal_px_from_half_diagonal(torch.full((len(window.frames),), focal), width, height)
    info = bbox_info(window.boxes, focal_px, width, height, inputs.choices.box_scale)
    crops, info = window.crops[None].to(inputs.device), info[None].to(inputs.device)
    people = inputs.model.people(scene, crops, info, inputs.clip.fps)
    norm = float(clip_norm(scene.points_camera, scene.confidence, inputs.choices.confidence)[0])
    bodies, scale_estimates = {}, []
    for row, index in enumerate(window.track_indices):
        track = inputs.tracks[index]
        present = track.present[window.frames]
        tensors = (people.body_rotations[0, row], people.translation_camera[0, row], people.betas[0, row])
        bodies[index] = WindowBody(*(tensor.float().cpu() for tensor in tensors), frames_seen=int(present.sum()))
        scale_estimates.append((track.id, float(people.scale[0, row]) / norm, float(present.mean())))
    return bodies, tuple(scale_estimates)


def _samples(scene: "SceneFeatures") -> tuple[Tensor, Tensor]:
    """Points and confidence of the pixels that are kept of a pass."""
    rows, columns = sample_pixels(*scene.confidence.shape[2:])
    return scene.points_camera[0, :, rows, columns].float(), scene.confidence[0, :, rows, columns].float()


def _prediction(
    scene: "SceneFeatures", frames: np.ndarray, people: Bool[np.ndarray, "frames height width"]
) -> WindowPrediction:
    rows, columns = sample_pixels(*people.shape[1:])
    static_mask = np.stack([_clear_of_people(mask) for mask in people])[:, rows, columns]
    points, confidence = (samples.cpu().numpy() for samples in _samples(scene))
    return WindowPrediction(frames, scene.world_from_camera[0].cpu().double().numpy(), points, confidence, static_mask)


def _clear_of_people(people: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Pixels that are well clear of every person."""
    margin_px = max(1, round(PERSON_MARGIN * max(people.shape)))
    kernel = np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)
    return cv2.dilate((people > 0).astype(np.uint8), kernel) == 0
