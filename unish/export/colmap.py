"""The scene as a COLMAP project: cameras, posed images, points with tracks, and masks that leave the people out.

`sparse/0`, `images/` and `masks/` are where COLMAP, nerfstudio and trainers of Gaussian splats look for them;
`transforms.json` says the same in nerfstudio's format (`unish.export.nerfstudio`). A pixel's centre is at (½, ½), as it
is in COLMAP.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, UInt8
from PIL import Image

from unish.analysis.point_cloud import PointCloud
from unish.errors import InputError
from unish.export.camera_motion import lens_frame, with_steady_camera
from unish.export.colmap_model import ColmapCamera, ColmapImage, ColmapModel, ColmapPoints, write_binary, write_text
from unish.export.nerfstudio import mask_name, write_transforms
from unish.export.scene_points import MIN_CONFIDENCE, person_pixels, scene_points
from unish.export.source_mapping import OriginalFrame
from unish.geometry.rotations import matrix_to_quaternion, nearest_rotation
from unish.structures import Cameras, FrameSequence, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.disk_arrays import release_pages
from unish.utils.result_files import EXPORT_FILES

MAX_POINTS = 100_000
OTHER_FRAMES = 9
"""A track holds the frame that its point comes from, and at most so many others."""
AGREEMENT = 0.03
"""Another frame sees a point where its own depth there differs from the point's by no more than this share."""
NEAREST_M = 0.05
JPEG_QUALITY = 95


def write_colmap(
    reconstruction: Reconstruction,
    folder: str | Path,
    clip: FrameSequence | None = None,
    max_points: int = MAX_POINTS,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Write a COLMAP project into a new or replaced folder.

    With `clip`, from which the result was made, `images/` holds its frames at the result's times, at their size, and
    the intrinsics are theirs; without it both are the network's. `masks/` are white where an image may be used and
    black on people, under both names that programs look for: `frame_N.jpg.png` and `frame_N.png`. `sparse/0` holds the
    model as text and as binary: a pinhole camera for each set of intrinsics, world-to-camera poses in metres (z up),
    at most `max_points` points of the scene. `transforms.json` is the same for nerfstudio. Raises `InputError` when
    `clip` is another one, or the folder cannot be written.
    """
    report, reconstruction = progress or (lambda share: None), with_steady_camera(reconstruction)
    frame = lens_frame(reconstruction, clip)
    images = iter(reconstruction.images) if clip is None else clip.read(_shown(reconstruction, clip))
    with atomic_path(folder, EXPORT_FILES["colmap"]) as temporary:
        model_folder = temporary / "sparse" / "0"
        model_folder.mkdir(parents=True)
        _write_images(reconstruction, images, frame, temporary, lambda share: report(0.5 * share))
        points = scene_points(reconstruction, max_points)
        seen = observations(reconstruction, points, lambda share: report(0.5 + 0.4 * share))
        model = colmap_model(reconstruction.cameras, points, seen, frame)
        write_binary(model, model_folder)
        write_text(model, model_folder)
        write_transforms(model, reconstruction.times_s, temporary)
        report(1.0)
    return Path(folder)


def picture_name(frame: int) -> str:
    """Name of a frame's image."""
    return f"frame_{frame:05d}.jpg"


@dataclass(frozen=True)
class Views:
    """The clip's cameras as COLMAP states them, in pixels of the network's frame and metres."""

    rotation: Float64[np.ndarray, "frames 3 3"]
    """Carries world points into each camera, together with:"""
    translation: Float64[np.ndarray, "frames 3"]
    parameters: Float64[np.ndarray, "frames 4"]
    """fx, fy, cx, cy."""

    @staticmethod
    def of(cameras: Cameras) -> "Views":
        """The same cameras, their rotations made exact."""
        world_from_camera = torch.from_numpy(cameras.world_from_camera.astype(np.float64))
        rotation = nearest_rotation(world_from_camera[:, :3, :3]).mT
        translation = -(rotation @ world_from_camera[:, :3, 3:])[..., 0]
        return Views(rotation.numpy(), translation.numpy(), _parameters(cameras.intrinsics))

    def project(
        self, frames: Int64[np.ndarray, "points"], places: Float64[np.ndarray, "points 3"]
    ) -> tuple[Float64[np.ndarray, "points 2"], Float64[np.ndarray, "points"]]:
        """Pixel and depth (metres) at which each point of the world is seen from its frame."""
        in_camera = np.einsum("nab,nb->na", self.rotation[frames], places) + self.translation[frames]
        depth_m = in_camera[:, 2]
        ahead_m = np.where(depth_m > NEAREST_M, depth_m, np.inf)[:, None]
        parameters = self.parameters[frames]
        return in_camera[:, :2] / ahead_m * parameters[:, :2] + parameters[:, 2:], depth_m


def _parameters(intrinsics: Float[np.ndarray, "frames 3 3"]) -> Float64[np.ndarray, "frames 4"]:
    """fx, fy, cx, cy."""
    return intrinsics[:, [0, 1, 0, 1], [0, 1, 2, 2]].astype(np.float64)


@dataclass(frozen=True)
class Observations:
    """Which points are seen in which frames, by frame, and within a frame by point."""

    frame: Int64[np.ndarray, "observations"]
    point: Int64[np.ndarray, "observations"]
    pixels: Float64[np.ndarray, "observations 2"]
    """In the network's frame."""


def observations(
    reconstruction: Reconstruction, points: PointCloud, progress: Callable[[float], None] = lambda share: None
) -> Observations:
    """Each point in the frame that it comes from, at its pixel's centre, and in others where it is seen as well.

    Another frame sees a point that falls on a trusted pixel of its scene with the depth that the frame has there (to
    `AGREEMENT`). Of those frames at most `OTHER_FRAMES` are kept, drawn by lot, so that far views stay in.
    """
    views = Views.of(reconstruction.cameras)
    places = points.points_world.astype(np.float64)
    random = np.random.default_rng(0)
    others = np.full((len(points), OTHER_FRAMES), -1, np.int64)
    counts = np.zeros(len(points), np.int64)
    for frame in range(len(reconstruction)):
        chosen = np.flatnonzero(_sees(reconstruction, views, frame, places) & (points.frame != frame))
        # Reservoir sampling: every frame that sees a point is as likely to stay as any other.
        counts[chosen] += 1
        slots = np.where(counts[chosen] <= OTHER_FRAMES, counts[chosen] - 1, random.integers(0, counts[chosen]))
        stays = slots < OTHER_FRAMES
        others[chosen[stays], slots[stays]] = frame
        release_pages(reconstruction.depth_m, reconstruction.confidence, reconstruction.person_mask)
        progress((frame + 1) / len(reconstruction))
    found = others >= 0
    point = np.concatenate([np.arange(len(points)), np.nonzero(found)[0]])
    frames = np.concatenate([points.frame.astype(np.int64), others[found]])
    pixels = views.project(frames, places[point])[0]
    pixels[: len(points)] = points.pixel[:, ::-1] + 0.5
    order = np.lexsort((point, frames))
    return Observations(frames[order], point[order], pixels[order])


def _sees(
    reconstruction: Reconstruction, views: Views, frame: int, places: Float64[np.ndarray, "points 3"]
) -> Bool[np.ndarray, "points"]:
    """Which points (world, metres) lie on the surface of the scene that a frame shows."""
    pixels, depth_m = views.project(np.full(len(places), frame), places)
    height, width = reconstruction.depth_m.shape[1:]
    seen = (depth_m > NEAREST_M) & (pixels >= 0).all(-1) & (pixels < [width, height]).all(-1)
    column, row = np.where(seen[:, None], pixels, 0).astype(int).T
    there_m = reconstruction.depth_m[frame][row, column]
    seen &= np.abs(there_m - depth_m) <= AGREEMENT * there_m  # false where there is none
    seen &= reconstruction.confidence[frame][row, column] >= MIN_CONFIDENCE
    return seen & ~person_pixels(reconstruction, frame)[row, column]


def colmap_model(cameras: Cameras, points: PointCloud, seen: Observations, frame: OriginalFrame) -> ColmapModel:
    """The model of images of the size of `frame`; pixels are rounded to a thousandth, points to a micrometre."""
    lenses, lens_of = np.unique(_parameters(frame.map_intrinsics(cameras.intrinsics)), axis=0, return_inverse=True)
    views = Views.of(cameras)
    quaternion = matrix_to_quaternion(torch.from_numpy(views.rotation)).numpy()
    pixels = frame.map_points(seen.pixels).round(3)
    ends = np.searchsorted(seen.frame, np.arange(len(cameras)), side="right")
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    return ColmapModel(
        cameras=tuple(
            ColmapCamera(index + 1, frame.width_px, frame.height_px, tuple(lens.tolist()))
            for index, lens in enumerate(lenses)
        ),
        images=tuple(
            ColmapImage(
                id=index + 1,
                camera_id=int(lens_of.reshape(-1)[index]) + 1,
                name=picture_name(index),
                quaternion=quaternion[index],
                translation=views.translation[index],
                pixels=pixels[starts[index] : ends[index]],
                point_ids=seen.point[starts[index] : ends[index]] + 1,
            )
            for index in range(len(cameras))
        ),
        points=_points(views, points, seen, starts, frame, pixels),
    )


def _points(
    views: Views,
    points: PointCloud,
    seen: Observations,
    starts: Int64[np.ndarray, "frames"],
    frame: OriginalFrame,
    pixels: Float64[np.ndarray, "observations 2"],
) -> ColmapPoints:
    """The points, with their observations (which begin at `starts` in each image) in tracks."""
    places = points.points_world.astype(np.float64).round(6)
    projected = frame.map_points(views.project(seen.frame, places[seen.point])[0])
    off_px = np.linalg.norm(projected - pixels, axis=-1)
    counts = np.bincount(seen.point, minlength=len(points))
    track = np.stack([seen.frame + 1, np.arange(len(seen.frame)) - starts[seen.frame]], axis=-1)
    return ColmapPoints(
        ids=np.arange(1, len(points) + 1),
        points_world=places,
        colors=points.colors,
        errors_px=np.bincount(seen.point, off_px, len(points)) / np.maximum(counts, 1),
        track_ends=counts.cumsum(),
        track=track[np.lexsort((seen.frame, seen.point))],
    )


def _shown(reconstruction: Reconstruction, clip: FrameSequence) -> list[int]:
    """Which of the clip's frames is shown at each frame of the result."""
    shown = [int(np.abs(clip.times_s - time_s).argmin()) for time_s in reconstruction.times_s]
    apart_s = np.abs(clip.times_s[shown] - reconstruction.times_s)
    if apart_s.max() > 0.5 / reconstruction.fps:
        raise InputError(
            f"Expected the clip that the result was made from, but {clip.source_name} has no frame at "
            f"{reconstruction.times_s[apart_s.argmax()]:.2f} s, where the result has one; give that clip."
        )
    return shown


def _write_images(
    reconstruction: Reconstruction,
    images: Iterator[UInt8[np.ndarray, "height width 3"]],
    frame: OriginalFrame,
    folder: Path,
    report: Callable[[float], None],
) -> None:
    """`images/` and `masks/`, from the image of each frame of the result."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index, image in enumerate(images):
        name = picture_name(index)
        Image.fromarray(np.asarray(image)).save(folder / "images" / name, quality=JPEG_QUALITY, subsampling=0)
        scene = np.where(person_pixels(reconstruction, index), 0, 255).astype(np.uint8)
        scene = frame.within_content(frame.enlarge(scene))
        # COLMAP looks for the image's name and .png, nerfstudio for .png in place of its suffix.
        for mask in (f"{name}.png", mask_name(name)):
            Image.fromarray(scene).save(folder / "masks" / mask)
        release_pages(reconstruction.images, reconstruction.person_mask)
        report((index + 1) / len(reconstruction))
