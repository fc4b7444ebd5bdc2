"""From the passes of a clip and where they lie to one Reconstruction, in metres, upright."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

import unish
from unish.body import BodyModel
from unish.fusion.gravity import Standing, find_upright
from unish.fusion.intrinsics import Lens
from unish.fusion.motion import (
    Motion,
    blended_motion,
    clip_shape,
    moved_motion,
    posed_person,
    posed_vertices,
    shape_of_height,
    stature_m,
)
from unish.fusion.window_alignment import NEAREST_M, Joined, still_points
from unish.fusion.windows import blend_shares
from unish.geometry.camera import focal_px_from_half_diagonal, intrinsics_from_focal
from unish.geometry.rotations import nearest_rotation, slerp
from unish.pipeline.inference import Forward
from unish.pipeline.options import ClipPriors
from unish.structures import Cameras, PersonTrack, Provenance, Reconstruction, Window
from unish.utils.disk_arrays import new_array, release_pages

log = logging.getLogger("unish")

GROUND_POINTS = 40_000
STANDING_FRAMES = 120


@dataclass(frozen=True)
class _Scales:
    """What turns network units into metres, window by window, and the people's shapes."""

    metres_per_unit: np.ndarray
    shift_m: np.ndarray
    betas: dict[int, Tensor]


def assemble(
    work: Forward, lens: Lens, joined: Joined, body: BodyModel, priors: ClipPriors, finder: str, seed: int
) -> Reconstruction:
    """The result of the finished windows; frames that none of them covers must have been cut off before."""
    frames, frame = len(work.clip.frames), work.frame
    shares = blend_shares(work.windows)
    grown, shapes = _shapes(work, body, priors)
    joined = joined.grown(grown)
    scales = _Scales(joined.metres_per_unit, joined.metres_per_unit * np.array(lens.shift), shapes)
    cameras = _blended_cameras(list(zip(work.windows, shares, joined.world_from_camera, strict=True)), frames)
    motions = _motions(work, scales, shares, cameras, body)
    points, confidence = still_points(work.passes, lens, joined, work.uv, GROUND_POINTS)
    upright = find_upright(cameras.numpy(), points, confidence, _standing(work, motions, body))
    turn = torch.from_numpy(upright.upright_from_world)[None]
    cameras = turn @ cameras
    boxes = [frame.map_boxes(torch.from_numpy(track.boxes_px).float()).numpy() for track in work.tracks]
    people = tuple(
        posed_person(track, boxes[index], moved_motion(motions[index], turn, body), cameras, body)
        for index, track in enumerate(work.tracks)
    )
    depth_m, sure = _blended_maps(work, scales, shares)
    focal_px = focal_px_from_half_diagonal(torch.from_numpy(lens.focal), frame.width_px, frame.height_px)
    return Reconstruction(
        images=work.images,
        depth_m=depth_m,
        confidence=sure,
        person_mask=work.person_mask,
        cameras=Cameras(
            world_from_camera=cameras.float().numpy(),
            intrinsics=intrinsics_from_focal(focal_px, frame.width_px, frame.height_px).float().numpy(),
            width_px=frame.width_px,
            height_px=frame.height_px,
        ),
        people=people,
        faces=body.faces.cpu().numpy().astype(np.int32),
        times_s=work.clip.times_s,
        fps=work.clip.fps,
        world_up=np.array([0, 0, 1], np.float32),
        provenance=_provenance(work, lens, body, finder, seed, float(np.median(scales.metres_per_unit))),
        windows=tuple(
            Window(
                start=window.start,
                stop=window.stop,
                metres_per_unit=float(scales.metres_per_unit[k]),
                votes=tuple((person, vote * grown) for person, vote, _ in work.passes[k].votes),
                join_error=float(joined.error[k]),
            )
            for k, window in enumerate(work.windows)
        ),
    )


def _shapes(work: Forward, body: BodyModel, priors: ClipPriors) -> tuple[float, dict[int, Tensor]]:
    """By how much a known height makes everything larger, and the shape of each person (by index)."""
    shapes = {
        index: clip_shape([found[index] for found in work.bodies if index in found])
        for index in range(len(work.tracks))
    }
    ratios = []
    for index, track in enumerate(work.tracks):
        if track.id in priors.heights_m:
            ratios.append(priors.heights_m[track.id] / stature_m(body, shapes[index]))
            shapes[index] = shape_of_height(body, shapes[index], priors.heights_m[track.id])
    return (float(np.median(ratios)) if ratios else 1.0), shapes


# --- cameras and people --------------------------------------------------------------------------------------------


def _blended_cameras(parts: Sequence[tuple[range, np.ndarray, np.ndarray]], frames: int) -> Float[Tensor, "frames 4 4"]:
    """Cameras of all frames from windows given as (frames, shares, world_from_camera)."""
    cameras, total = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1), torch.zeros(frames, dtype=torch.float64)
    for window, shares, found in parts:
        here = slice(window.start, window.stop)
        share, new = torch.from_numpy(shares), torch.from_numpy(found)
        total[here] += share
        part = share / total[here]
        cameras[here, :3, :3] = slerp(cameras[here, :3, :3], nearest_rotation(new[:, :3, :3]), part)
        cameras[here, :3, 3] = torch.lerp(cameras[here, :3, 3], new[:, :3, 3], part[:, None])
    return cameras


def _motions(
    work: Forward, scales: _Scales, shares: Sequence[np.ndarray], cameras: Tensor, body: BodyModel
) -> list[Motion]:
    """Every person in the world, frames in which they are not seen still unfilled."""
    motions = []
    for index in range(len(work.tracks)):
        windows = [k for k, found in enumerate(work.bodies) if index in found]
        parts = [(work.windows[k], shares[k], work.bodies[k][index]) for k in windows]
        units, shifts = scales.metres_per_unit[windows], scales.shift_m[windows]
        motion = blended_motion(parts, units, shifts, body, scales.betas[index], len(cameras))
        motions.append(moved_motion(motion, cameras, body))
    return motions


def _standing(work: Forward, motions: list[Motion], body: BodyModel) -> list[Standing]:
    """What the bodies say of where up is, from some of the frames in which they are seen."""
    standing = []
    for track, motion in zip(work.tracks, motions, strict=True):
        seen = np.flatnonzero(track.present)
        seen = seen[np.linspace(0, len(seen) - 1, min(len(seen), STANDING_FRAMES)).round().astype(int)]
        vertices, joints = posed_vertices(motion, body, seen)
        standing.append(Standing(vertices[:, body.soles], joints, np.ones(len(seen), bool)))
    return standing


# --- maps ----------------------------------------------------------------------------------------------------------


def _blended_maps(
    work: Forward, scales: _Scales, shares: Sequence[np.ndarray]
) -> tuple[Float32[np.ndarray, "frames height width"], Float32[np.ndarray, "frames height width"]]:
    """Metric depth and confidence of every frame; where windows overlap, each pixel is their mean by confidence."""
    shape = (len(work.clip.frames), *work.depth.shape[1:])
    depth_m, confidence = new_array(shape, np.float32), new_array(shape, np.float32)
    said: list[list[tuple[int, int, float]]] = [[] for _ in range(shape[0])]
    for k, window in enumerate(work.windows):
        for row, frame in enumerate(window, start=work.rows(k).start):
            said[frame].append((k, row, float(shares[k][row - work.rows(k).start])))
    for frame, parts in enumerate(said):
        depths = np.stack([work.depth[row] * np.float32(scales.metres_per_unit[k]) + np.float32(scales.shift_m[k])
                           for k, row, _ in parts])  # fmt: skip
        # What the shift moves behind the camera is not to be trusted.
        sure = np.stack([work.confidence[row] for _, row, _ in parts]) * (depths > NEAREST_M)
        weight = np.array([share for *_, share in parts], np.float32)[:, None, None]
        counts = weight * np.maximum(sure, 1e-6)
        depth_m[frame] = ((counts * depths).sum(0) / counts.sum(0)).clip(min=NEAREST_M)
        confidence[frame] = (weight * sure).sum(0)
        if frame % 64 == 63:
            release_pages(work.depth, work.confidence, depth_m, confidence)
    return depth_m, confidence


# --- provenance ----------------------------------------------------------------------------------------------------


def _provenance(work: Forward, lens: Lens, body: BodyModel, finder: str, seed: int, factor: float) -> Provenance:
    model, doubts = work.model, list(work.clip.warnings)
    if model.weights_name == "mini":
        doubts.append(
            "Made with the mini weights, which have seen synthetic scenes only: expect a rough result on real footage. "
            f"{model.weights_note or 'The release weights are the better ones.'}"
        )
    if body.name == "open":
        doubts.append("Bodies are the open body, which is close to SMPL but not SMPL.")
    if not lens.one:
        doubts.append("The lens seems to zoom, so every frame has a focal length of its own; --focal says otherwise.")
    for doubt in doubts:
        log.warning(doubt)
    return Provenance(
        source_name=work.clip.source_name,
        weights=model.weights_name,
        finder=finder,
        body=body.name,
        device=str(work.device),
        seed=seed,
        unish_version=unish.__version__,
        metres_per_unit=factor,
        source_fps=work.clip.source_fps,
        content_box=work.clip.content_box or (),
        warnings=tuple(doubts),
    )


def seen_tracks(tracks: Sequence[PersonTrack]) -> tuple[PersonTrack, ...]:
    """The people who are seen at all."""
    return tuple(track for track in tracks if track.present.any())
