"""A clip becomes a Reconstruction: decode, find people, one forward pass, metres, posed bodies in one world."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

import unish
from unish.body import BodyModel, load_body, move_translation
from unish.errors import InputError
from unish.geometry.camera import focal_px_from_half_diagonal, intrinsics_from_focal, solve_focal_shift
from unish.geometry.metric import VALID_CONFIDENCE, metric_factor
from unish.geometry.rotations import slerp
from unish.geometry.transforms import relative_to_first, rigid
from unish.models.hub import load
from unish.structures import Cameras, Clip, Person, PersonTrack, Provenance, Reconstruction
from unish.video.people import Box, find_people
from unish.video.preprocess import FrameTransform, bbox_info, crop_people, fit_frames
from unish.video.reader import read_clip

if TYPE_CHECKING:
    from unish.models.scene import SceneFeatures
    from unish.models.unish import UniSH

log = logging.getLogger("unish")

Progress = Callable[[float, str], None]
"""Called with the share done in 0..1 and what is being done; an exception raised in it cancels the work."""

MAX_FRAMES = 120
"""Most frames given to one forward pass."""


@dataclass(frozen=True)
class Options:
    """What the user chose; the same names in Python, on the command line and in the app."""

    fps: float = 6.0
    """Frames sampled a second; the network was trained on 6."""
    weights: str = "auto"
    boxes: tuple[Box, ...] = ()
    """People drawn by the user; empty: people are found."""
    masks: str | None = None
    """Folder of person masks, one picture a sampled frame."""
    start_s: float | None = None
    end_s: float | None = None
    device: str | None = None
    """"cpu", "cuda"; None: the GPU where there is one."""
    body: str | None = None
    """"open", an installed or a given SMPL-format file; None: an installed SMPL, else the open body."""
    seed: int = 0


def reconstruct(
    source: str | PathLike[str] | Clip,
    *,
    progress: Progress | None = None,
    boxes: Sequence[Box | Sequence[float]] = (),
    **options: object,
) -> Reconstruction:
    """Scene, camera and people of a video, a folder of images or a `Clip`, in metres.

    Takes the fields of `Options` as keywords; a box may be given as (x0, y0, x1, y1) pixels of the first frame.
    Raises `InputError` when the clip cannot be used or nobody is in it, `MissingAssetError` or `CheckpointError` for
    weights that are not there or not whole. Weaker paths (mini weights, CPU, fallback finder) are logged and kept in
    `Reconstruction.provenance.warnings`.
    """
    unknown = set(options) - {field.name for field in dataclasses.fields(Options)}
    if unknown:
        raise InputError(f"reconstruct got an unknown option {sorted(unknown)[0]!r}; the options are those of Options.")
    drawn = tuple(box if isinstance(box, Box) else Box(*box) for box in boxes)
    chosen = Options(boxes=drawn, **options)  # type: ignore[arg-type]
    report = progress or (lambda share, message: None)

    report(0.0, "Reading the clip")
    clip = source if isinstance(source, Clip) else _read(Path(source), chosen)
    report(0.1, "Loading the weights")
    model = load(chosen.weights, device=chosen.device)
    body = load_body(chosen.body)
    report(0.2, "Finding people")
    found = find_people(clip, boxes=chosen.boxes, masks=chosen.masks)
    clip = dataclasses.replace(clip, warnings=clip.warnings + found.warnings)
    return reconstruct_tracked(clip, found.tracks, model, body, finder=found.finder, seed=chosen.seed, progress=report)


def _read(path: Path, chosen: Options) -> Clip:
    return read_clip(path, fps=chosen.fps, start_s=chosen.start_s, end_s=chosen.end_s, max_frames=MAX_FRAMES)


def reconstruct_tracked(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    model: "UniSH",
    body: BodyModel,
    *,
    finder: str,
    seed: int = 0,
    progress: Progress = lambda share, message: None,
) -> Reconstruction:
    """The part after decoding and finding people, for callers that hold the clip, the people and the weights.

    Raises `InputError` when there is no track.
    """
    require_people(tracks)
    torch.manual_seed(seed)
    device = next(model.parameters()).device
    config = model.config
    images, frame = fit_frames(clip.frames, config.scene.image_long_side_px, config.scene.patch_size)

    with torch.inference_mode():
        progress(0.35, f"Reconstructing the scene from {len(images)} frames")
        scene = model.scene(images[None].to(device))
        camera = _solve_camera(scene, fit_shift=not config.scene.ray_prior)
        progress(0.6, f"Placing {len(tracks)} {'person' if len(tracks) == 1 else 'people'} in it")
        usable = tuple(_usable_track(track) for track in tracks)
        boxes_px = torch.stack([frame.map_boxes(torch.from_numpy(track.boxes_px).float()) for track in usable])
        crops = torch.stack([crop_people(clip.frames[_source_frames(track)], track.boxes_px) for track in usable])
        info = bbox_info(boxes_px.to(device), camera.focal_px, frame.width_px, frame.height_px)
        bodies = model.people(scene, crops[None].to(device), info[None], clip.fps)

        progress(0.85, "Turning it into metres")
        # One clip has one scale; people vote with equal weight.
        factor = metric_factor(bodies.scale.quantile(0.5, dim=1), scene.points_camera, scene.confidence)[0]
        shift_m = camera.shift * factor
        cameras = _metric_cameras(scene.world_from_camera[0], factor, shift_m)
        depth_m = scene.points_camera[0, ..., 2] * factor + shift_m
        in_front = depth_m > 1e-3
        confidence = torch.where(in_front, scene.confidence[0], torch.zeros_like(depth_m))
        translation = bodies.translation_camera[0] * factor
        translation[..., 2] += shift_m
        people = tuple(
            _person(
                track,
                boxes_px[i].cpu(),
                body,
                bodies.body_rotations[0, i].cpu(),
                translation[i].cpu(),
                bodies.betas[0, i].cpu(),
                cameras.cpu(),
            )
            for i, track in enumerate(tracks)
        )

    progress(0.98, "Done")
    return Reconstruction(
        images=(images.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy(),
        depth_m=depth_m.clamp(min=1e-3).float().cpu().numpy(),
        confidence=confidence.float().cpu().numpy(),
        person_mask=_person_mask(tracks, frame, clip),
        cameras=Cameras(
            world_from_camera=cameras.cpu().numpy(),
            intrinsics=intrinsics_from_focal(
                camera.focal_px.cpu() * config.scene.focal_gain, frame.width_px, frame.height_px
            ).numpy(),
            width_px=frame.width_px,
            height_px=frame.height_px,
        ),
        people=people,
        faces=body.faces.cpu().numpy().astype(np.int32),
        times_s=clip.times_s,
        fps=clip.fps,
        world_up=_camera_up(cameras).cpu().numpy(),
        provenance=_provenance(clip, model, body, finder, device, seed, float(factor)),
    )


def require_people(tracks: tuple[PersonTrack, ...]) -> None:
    """Raises `InputError` when there is no track: a reconstruction needs somebody to measure the scene by."""
    if not tracks:
        raise InputError(
            "Nobody was found in this clip. Draw a box around a person: x0,y0,x1,y1 in pixels of the first frame "
            "(--box, boxes= in Python, the People field among the app's options)."
        )


@dataclass(frozen=True)
class _Camera:
    focal_px: Float[Tensor, "frames"]
    shift: Float[Tensor, ""]
    """Added to depth, in network units."""


def _solve_camera(scene: "SceneFeatures", fit_shift: bool) -> _Camera:
    """One focal length and one depth shift for the clip: a phone does not change its lens between frames."""
    height, width = scene.confidence.shape[-2:]
    valid = scene.confidence[0] > VALID_CONFIDENCE
    focal, shift = solve_focal_shift(scene.points_camera[0].float(), valid, shared=True, fit_shift=fit_shift)
    return _Camera(focal_px_from_half_diagonal(focal, width, height), shift[0])


def _metric_cameras(
    world_from_camera: Float[Tensor, "frames 4 4"], factor: Float[Tensor, ""], shift_m: Float[Tensor, ""]
) -> Float[Tensor, "frames 4 4"]:
    """Cameras in metres. The depth shift pushes points along the axis, so the camera steps back by as much: what
    stands still in the world stays still."""
    position = factor * world_from_camera[:, :3, 3] - shift_m * world_from_camera[:, :3, 2]
    return relative_to_first(rigid(world_from_camera[:, :3, :3], position)).float()


def _usable_track(track: PersonTrack) -> PersonTrack:
    """The track with each absent frame showing the nearest frame in which the person is seen."""
    return dataclasses.replace(track, boxes_px=track.boxes_px[_source_frames(track)])


def _source_frames(track: PersonTrack) -> np.ndarray:
    seen = np.flatnonzero(track.present)
    frames = np.arange(len(track.present))
    return seen[np.abs(frames[:, None] - seen).argmin(axis=1)]


def _person(
    track: PersonTrack,
    boxes_px: Float[Tensor, "frames 4"],
    body: BodyModel,
    body_rotations: Float[Tensor, "frames 24 3 3"],
    translation_camera: Float[Tensor, "frames 3"],
    betas: Float[Tensor, "10"],
    world_from_camera: Float[Tensor, "frames 4 4"],
) -> Person:
    offset = body.pelvis_offset(betas)
    turn = world_from_camera[:, :3, :3]
    root_world = turn @ body_rotations[:, 0]
    translation_world = move_translation(turn, world_from_camera[:, :3, 3], translation_camera, offset)
    pose_world = torch.cat([root_world[:, None], body_rotations[:, 1:]], dim=1)
    pose_world, translation_world = _bridge_absence(pose_world, translation_world, torch.from_numpy(track.present))
    camera_turn = turn.mT
    rotations = torch.cat([(camera_turn @ pose_world[:, 0])[:, None], pose_world[:, 1:]], dim=1)
    camera_shift = -(camera_turn @ world_from_camera[:, :3, 3:])[..., 0]
    posed = body(betas.expand(len(turn), -1), pose_world, translation_world)
    return Person(
        id=track.id,
        name=f"Person {track.id}",
        present=track.present,
        confidence=track.confidence.astype(np.float32),
        boxes_px=boxes_px.numpy(),
        betas=betas.numpy(),
        body_rotations=rotations.numpy(),
        translation_camera=move_translation(camera_turn, camera_shift, translation_world, offset).numpy(),
        root_rotation_world=pose_world[:, 0].numpy(),
        translation_world=translation_world.numpy(),
        joints_world=posed.joints.numpy(),
        vertices_world=posed.vertices.numpy(),
    )


def _bridge_absence(
    rotations: Float[Tensor, "frames 24 3 3"], translation: Float[Tensor, "frames 3"], present: Tensor
) -> tuple[Float[Tensor, "frames 24 3 3"], Float[Tensor, "frames 3"]]:
    """Between sightings the body moves evenly from one to the next; before the first and after the last it waits."""
    seen = torch.nonzero(present)[:, 0]
    frames = torch.arange(len(present))
    after = torch.searchsorted(seen, frames).clamp(max=len(seen) - 1)
    before = (torch.searchsorted(seen, frames, right=True) - 1).clamp(min=0)
    start, end = seen[before], seen[after]
    fraction = ((frames - start) / (end - start).clamp(min=1)).clamp(0, 1).to(translation.dtype)
    moved = slerp(rotations[start], rotations[end], fraction[:, None].expand(-1, rotations.shape[1]))
    return moved, torch.lerp(translation[start], translation[end], fraction[:, None])


def _person_mask(tracks: tuple[PersonTrack, ...], frame: FrameTransform, clip: Clip) -> np.ndarray:
    """Label image of the people at the network's resolution; where two overlap, the lower (later) one is in front."""
    labels = np.zeros((len(clip.frames), frame.height_px, frame.width_px), np.uint8)
    for index, track in enumerate(tracks, start=1):
        if track.masks is not None:
            labels[frame.map_masks(track.masks, clip.frames.shape[1:3])] = index
    return labels


def _camera_up(world_from_camera: Float[Tensor, "frames 4 4"]) -> Float[Tensor, "3"]:
    """Away from the ground, if the camera is held upright on the whole: the mean of the cameras' own up."""
    return torch.nn.functional.normalize(-world_from_camera[:, :3, 1].mean(0), dim=0)


def _provenance(
    clip: Clip, model: "UniSH", body: BodyModel, finder: str, device: torch.device, seed: int, factor: float
) -> Provenance:
    doubts = list(clip.warnings)
    if model.weights_name == "mini":
        doubts.append(
            "Made with the mini weights, which have seen synthetic scenes only: expect a rough result on real footage. "
            f"{model.weights_note or 'The release weights are the better ones.'}"
        )
    if body.name == "open":
        doubts.append("Bodies are the open body, which is close to SMPL but not SMPL.")
    for doubt in doubts:
        log.warning(doubt)
    return Provenance(
        source_name=clip.source_name,
        weights=model.weights_name,
        finder=finder,
        body=body.name,
        device=str(device),
        seed=seed,
        unish_version=unish.__version__,
        metres_per_unit=factor,
        warnings=tuple(doubts),
    )
