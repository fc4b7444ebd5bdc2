"""From the predictions of a clip and their alignment to one Reconstruction, in metres, upright."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

import unish
from unish.body import BodyModel
from unish.fusion.gravity import BodyEvidence, find_upright
from unish.fusion.intrinsics import ClipIntrinsics
from unish.fusion.motion import (
    BodyMotion,
    blended_motion,
    clip_shape,
    posed_person,
    posed_vertices,
    shape_of_height,
    stature_m,
    transformed_motion,
)
from unish.fusion.window_alignment import NEAREST_M, WindowAlignment, static_points
from unish.fusion.windows import blend_weights
from unish.geometry.camera import focal_px_from_half_diagonal, intrinsics_from_focal
from unish.geometry.rotations import nearest_rotation, slerp
from unish.pipeline.clip_predictions import ClipPredictions
from unish.pipeline.options import ClipPriors
from unish.structures import Cameras, Provenance, Reconstruction, Window
from unish.utils.disk_arrays import new_array, release_pages
from unish.video import TRAINED_FPS

log = logging.getLogger("unish")

GROUND_POINTS = 40_000
STANDING_FRAMES = 120


@dataclass(frozen=True)
class _Scales:
    """What turns network units into metres, window by window, and the people's shapes."""

    metres_per_unit: np.ndarray
    shift_m: np.ndarray
    betas: dict[int, Tensor]


def fuse(
    predictions: ClipPredictions,
    intrinsics: ClipIntrinsics,
    alignment: WindowAlignment,
    body: BodyModel,
    priors: ClipPriors,
    finder: str,
    seed: int,
) -> Reconstruction:
    """The result of a clip's windows, in one upright world."""
    inputs = predictions.inputs
    clip, transform, tracks = inputs.clip, inputs.transform, inputs.tracks
    weights = blend_weights(inputs.windows)
    growth, shapes = _shapes(predictions, body, priors)
    alignment = alignment.scaled(growth)
    scales = _Scales(alignment.metres_per_unit, alignment.metres_per_unit * np.array(intrinsics.depth_shift), shapes)
    parts = list(zip(inputs.windows, weights, alignment.world_from_camera, strict=True))
    cameras = _blended_cameras(parts, len(clip.frames))
    motions = _motions(predictions, scales, weights, cameras, body)
    points, confidence = static_points(predictions.windows, intrinsics, alignment, inputs.uv, GROUND_POINTS)
    upright = find_upright(cameras.numpy(), points, confidence, _body_evidence(predictions, motions, body))
    turn = torch.from_numpy(upright.upright_from_world)[None]
    cameras = turn @ cameras
    boxes = [transform.map_boxes(torch.from_numpy(track.boxes_px).float()).numpy() for track in tracks]
    keypoints = [
        None if track.keypoints_px is None else transform.map_keypoints(torch.from_numpy(track.keypoints_px)).numpy()
        for track in tracks
    ]
    people = tuple(
        posed_person(
            track, boxes[index], transformed_motion(motions[index], turn, body), cameras, body, keypoints[index]
        )
        for index, track in enumerate(tracks)
    )
    depth_m, depth_confidence = _blended_maps(predictions, scales, weights)
    width, height = transform.width_px, transform.height_px
    focal_px = focal_px_from_half_diagonal(torch.from_numpy(intrinsics.focal), width, height)
    return Reconstruction(
        images=predictions.images,
        depth_m=depth_m,
        confidence=depth_confidence,
        person_mask=predictions.person_mask,
        uncertain_mask=predictions.uncertain_mask if predictions.uncertain_mask.any() else None,
        cameras=Cameras(
            world_from_camera=cameras.float().numpy(),
            intrinsics=intrinsics_from_focal(focal_px, width, height).float().numpy(),
            width_px=width,
            height_px=height,
        ),
        people=people,
        faces=body.faces.cpu().numpy().astype(np.int32),
        times_s=clip.times_s,
        fps=clip.fps,
        world_up=np.array([0, 0, 1], np.float32),
        provenance=_provenance(
            predictions, intrinsics, body, priors, finder, seed, float(np.median(scales.metres_per_unit))
        ),
        windows=tuple(
            Window(
                start=window.start,
                stop=window.stop,
                metres_per_unit=float(scales.metres_per_unit[k]),
                votes=tuple((person, scale * growth) for person, scale, _ in predictions.windows[k].scale_estimates),
                join_error=float(alignment.error[k]),
            )
            for k, window in enumerate(inputs.windows)
        ),
    )


def _shapes(predictions: ClipPredictions, body: BodyModel, priors: ClipPriors) -> tuple[float, dict[int, Tensor]]:
    """By how much a known height scales everything up, and the shape of each person (by index)."""
    tracks = predictions.inputs.tracks
    shapes = {
        index: clip_shape([bodies[index] for bodies in predictions.bodies if index in bodies])
        for index in range(len(tracks))
    }
    ratios = []
    for index, track in enumerate(tracks):
        if track.id in priors.heights_m:
            ratios.append(priors.heights_m[track.id] / stature_m(body, shapes[index]))
            shapes[index] = shape_of_height(body, shapes[index], priors.heights_m[track.id])
    return (float(np.median(ratios)) if ratios else 1.0), shapes


# --- cameras and people --------------------------------------------------------------------------------------------


def _blended_cameras(parts: Sequence[tuple[range, np.ndarray, np.ndarray]], frames: int) -> Float[Tensor, "frames 4 4"]:
    """Cameras of all frames from windows given as (frames, blend weights, world_from_camera)."""
    cameras, total = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1), torch.zeros(frames, dtype=torch.float64)
    for window, weights, world_from_camera in parts:
        rows = slice(window.start, window.stop)
        weight, new = torch.from_numpy(weights), torch.from_numpy(world_from_camera)
        total[rows] += weight
        share = weight / total[rows]
        cameras[rows, :3, :3] = slerp(cameras[rows, :3, :3], nearest_rotation(new[:, :3, :3]), share)
        cameras[rows, :3, 3] = torch.lerp(cameras[rows, :3, 3], new[:, :3, 3], share[:, None])
    return cameras


def _motions(
    predictions: ClipPredictions, scales: _Scales, weights: Sequence[np.ndarray], cameras: Tensor, body: BodyModel
) -> list[BodyMotion]:
    """Every person in the world, absences not filled yet."""
    windows, bodies, motions = predictions.inputs.windows, predictions.bodies, []
    for index in range(len(predictions.inputs.tracks)):
        chosen = [k for k, people in enumerate(bodies) if index in people]
        parts = [(windows[k], weights[k], bodies[k][index]) for k in chosen]
        units, shifts = scales.metres_per_unit[chosen], scales.shift_m[chosen]
        motion = blended_motion(parts, units, shifts, body, scales.betas[index], len(cameras))
        motions.append(transformed_motion(motion, cameras, body))
    return motions


def _body_evidence(predictions: ClipPredictions, motions: list[BodyMotion], body: BodyModel) -> list[BodyEvidence]:
    """The bodies as evidence of gravity, in some of the frames in which they are seen."""
    evidence = []
    for track, motion in zip(predictions.inputs.tracks, motions, strict=True):
        seen = np.flatnonzero(track.present)
        seen = seen[np.linspace(0, len(seen) - 1, min(len(seen), STANDING_FRAMES)).round().astype(int)]
        vertices, joints = posed_vertices(motion, body, seen)
        evidence.append(BodyEvidence(vertices[:, body.soles], joints, np.ones(len(seen), bool)))
    return evidence


# --- maps ----------------------------------------------------------------------------------------------------------


def _blended_maps(
    predictions: ClipPredictions, scales: _Scales, weights: Sequence[np.ndarray]
) -> tuple[Float32[np.ndarray, "frames height width"], Float32[np.ndarray, "frames height width"]]:
    """Metric depth and confidence of every frame; where windows overlap, each pixel is their mean by confidence."""
    depth, confidence = predictions.depth, predictions.confidence
    shape = (len(predictions.inputs.clip.frames), *depth.shape[1:])
    blended_m, blended_confidence = new_array(shape, np.float32), new_array(shape, np.float32)
    sources: list[list[tuple[int, int, float]]] = [[] for _ in range(shape[0])]
    for k, window in enumerate(predictions.inputs.windows):
        first_row = predictions.rows(k).start
        for row, frame in enumerate(window, start=first_row):
            sources[frame].append((k, row, float(weights[k][row - first_row])))
    for frame, parts in enumerate(sources):
        depths = np.stack([depth[row] * np.float32(scales.metres_per_unit[k]) + np.float32(scales.shift_m[k])
                           for k, row, _ in parts])  # fmt: skip
        # What the shift moves behind the camera is not to be trusted.
        trusted = np.stack([confidence[row] for _, row, _ in parts]) * (depths > NEAREST_M)
        weight = np.array([share for *_, share in parts], np.float32)[:, None, None]
        counts = weight * np.maximum(trusted, 1e-6)
        blended_m[frame] = ((counts * depths).sum(0) / counts.sum(0)).clip(min=NEAREST_M)
        blended_confidence[frame] = (weight * trusted).sum(0)
        if frame % 64 == 63:
            release_pages(depth, confidence, blended_m, blended_confidence)
    return blended_m, blended_confidence


# --- provenance ----------------------------------------------------------------------------------------------------


def _provenance(
    predictions: ClipPredictions,
    intrinsics: ClipIntrinsics,
    body: BodyModel,
    priors: ClipPriors,
    finder: str,
    seed: int,
    metres_per_unit: float,
) -> Provenance:
    inputs = predictions.inputs
    model, clip = inputs.model, inputs.clip
    warnings = [*clip.warnings, *_weaker_paths(predictions, intrinsics, body)]
    for warning in warnings:
        log.warning(warning)
    is_estimated = priors.focal is None
    return Provenance(
        source_name=clip.source_name,
        weights=model.weights_name,
        finder=finder,
        body=body.name,
        device=str(inputs.device),
        seed=seed,
        unish_version=unish.__version__,
        metres_per_unit=metres_per_unit,
        source_fps=clip.source_fps,
        content_box=clip.content_box or (),
        focal_from="estimated" if is_estimated else priors.focal_from,
        focal_log_error=model.config.scene.focal_log_error if is_estimated else priors.focal_log_error,
        mapped_frames=predictions.mapped_frames,
        warnings=tuple(warnings),
    )


def _weaker_paths(predictions: ClipPredictions, intrinsics: ClipIntrinsics, body: BodyModel) -> list[str]:
    """What the user should know about the quality of the result."""
    model, fps, warnings = predictions.inputs.model, predictions.inputs.clip.fps, []
    if model.weights_name == "mini":
        warnings.append(
            "Made with the small bundled model. Expect rough results on real video. The full model is better; it needs "
            "a GPU."
        )
    if body.name == "open":
        warnings.append("Bodies use the open body model (CC0), which is similar to SMPL but not identical.")
    if predictions.zoom_focal is not None:
        warnings.append(
            "The lens zooms. How much was measured from the video; a focal length that you set is taken as the mean."
        )
    elif not intrinsics.is_constant:
        warnings.append(
            "The lens seems to zoom, so each frame has its own focal length. Set the focal length to override."
        )
    if len(predictions.inputs.clip.frames) > 1 and round(fps, 1) < TRAINED_FPS:
        warnings.append(
            f"The video was sampled at {fps:.2g} fps, and the network was trained on {TRAINED_FPS:g} fps. "
            "Scale and positions are less accurate."
        )
    return warnings
