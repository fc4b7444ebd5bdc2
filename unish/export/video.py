"""The clip with the bodies drawn over it, as a video that plays in every browser: H.264 in MP4, or VP9 in WebM."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8

from unish.analysis.interpolation import FrameTimes, cameras_at, motion_world, seen_at
from unish.body import BodyModel
from unish.errors import InputError
from unish.export.drawing import Canvas, draw_dots, draw_mesh
from unish.export.person_motion import body_of
from unish.export.settings import LAYOUTS, Layout
from unish.export.source_mapping import content_of, original_frame
from unish.export.world_view import WorldView
from unish.structures import Cameras, FrameSequence, Person, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.colors import person_color

COVER = 0.85
"""How much a body hides what is behind it."""
HIDES_M, HIDES_SHARE = 0.1, 0.05
"""The scene hides a body that is so far behind it, and so large a share of its distance more: feet sink in floors."""
KEYPOINT_CONFIDENCE = 0.4
"""Keypoints below it are not drawn."""
_LEAST_SIDE_PX, _TICKS = 320, 90_000
_CODECS: dict[str, tuple[str, dict[str, str]]] = {
    # x264's macroblock tree makes other files from the same frames, depending on what lay in memory before.
    ".mp4": ("libx264", {"crf": "21", "preset": "veryfast", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", {"crf": "33", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}),
}


def write_video(
    reconstruction: Reconstruction,
    path: str | Path,
    clip: FrameSequence | None = None,
    layout: Layout = "overlay",
    long_side_px: int | None = None,
    body: BodyModel | None = None,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Draw the people, where they are seen, over the clip; the ending of `path` says which kind of video it is.

    `clip`: the clip that the result was made from, at any size and rate. The video has its size and its times; between
    the frames of the result bodies and camera are interpolated, and what hides a body is taken from the nearest frame.
    Without it the network's images are drawn over. Keypoints, where a person has them, are dots. `layout`: "overlay",
    or "side-by-side" with a view of the world from a place that stands still. `long_side_px` bounds the size of the
    images. `body`: as `body_of` takes it, needed only between frames.

    Raises `InputError` for another ending or layout, a clip that is another one, or a file that cannot be written, and
    as `body_of` does.
    """
    path = Path(path)
    if path.suffix not in _CODECS or layout not in LAYOUTS:
        raise InputError(
            f"Expected a file ending in {' or '.join(_CODECS)} and one of {', '.join(LAYOUTS)}, got {path.name} and "
            f"{layout!r}."
        )
    width_px, height_px = reconstruction.images.shape[2:0:-1] if clip is None else clip.frame_size
    images, times_s = _shown(reconstruction, clip)
    size = _even_size(width_px, height_px, long_side_px)
    codec, options = _CODECS[path.suffix]
    same_file = {"fflags": "bitexact"}  # else WebM has an id drawn anew each time
    with atomic_path(path) as temporary, av.open(str(temporary), "w", path.suffix[1:], same_file) as container:
        fps = reconstruction.fps if clip is None else clip.fps
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options)
        stream.width, stream.height = size[0] * (2 if layout == "side-by-side" else 1), size[1]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, _TICKS)
        content_box = content_of(reconstruction, clip)
        for index, drawn in enumerate(_drawn(reconstruction, images, times_s, size, layout, body, content_box)):
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.pts, frame.time_base = round((times_s[index] - times_s[0]) * _TICKS), Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
            if progress is not None:
                progress((index + 1) / len(times_s))
        container.mux(stream.encode())
    return path


def overlay(
    reconstruction: Reconstruction,
    frame: int,
    picture: UInt8[np.ndarray, "height width 3"],
    bodies: list[tuple[Float[np.ndarray, "vertices 3"], int]],
    cameras: Cameras,
    moment: int,
    content_box: tuple[float, ...] = (),
    keypoints: Sequence[tuple[Float[np.ndarray, "points 2"], int]] = (),
) -> UInt8[np.ndarray, "height width 3"]:
    """The image of a moment with `bodies`, (vertices in the world, id of the person), drawn where nothing of
    the scene stands before them, as `frame` of the result has it. `content_box` as in `original_frame`; `keypoints`
    (pixels of the result's images, id of the person) are dots over it all."""
    fit = original_frame(reconstruction.cameras, picture.shape[1], picture.shape[0], content_box)
    shift = [0.5 * fit.scale - 0.5 + margin for margin in fit.margin_px]  # OpenCV's pixels have whole middles
    place = np.array([[fit.scale, 0, shift[0]], [0, fit.scale, shift[1]]])

    def enlarged(values: np.ndarray) -> Float32[np.ndarray, "height width"]:
        size = (fit.width_px, fit.height_px)
        return cv2.warpAffine(values.astype(np.float32), place, size, borderMode=cv2.BORDER_REPLICATE)

    depth = np.asarray(reconstruction.depth_m[frame])
    scene = enlarged(np.where(np.isfinite(depth) & (depth > 0), depth, 1e6)) * (1 + HIDES_SHARE) + HIDES_M
    # People are hidden by one another's bodies, not by their own points, which lie a little before or behind them.
    people = cv2.dilate((reconstruction.person_mask[frame] > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    scene[enlarged(people) > 0.5] = np.inf
    canvas = Canvas(picture.copy(), scene, fit.map_intrinsics(cameras.intrinsics[moment]))
    camera_from_world = np.linalg.inv(cameras.world_from_camera[moment].astype(np.float64))
    for vertices_world, person in bodies:
        vertices = vertices_world @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        draw_mesh(canvas, vertices, np.asarray(reconstruction.faces), person_color(person))
    drawn = cv2.addWeighted(canvas.rgb, COVER, picture, 1 - COVER, 0)
    for points_px, person in keypoints:
        draw_dots(drawn, fit.map_points(points_px), person_color(person))
    return drawn


def _shown(
    reconstruction: Reconstruction, clip: FrameSequence | None
) -> tuple[Iterator[UInt8[np.ndarray, "height width 3"]], Float[np.ndarray, "frames"]]:
    """The images to draw over and their times: those of the clip from the result's first frame to its last."""
    times_s = np.asarray(reconstruction.times_s, np.float64)
    if clip is None:
        return iter(reconstruction.images), times_s
    slack = 0.5 / reconstruction.fps
    inside = np.flatnonzero((clip.times_s >= times_s[0] - slack) & (clip.times_s <= times_s[-1] + slack))
    if not len(inside) or np.abs(clip.times_s[inside, None] - times_s[[0, -1]]).min(0).max() > slack:
        raise InputError(
            f"Expected the clip that the result was made from, with frames from {times_s[0]:.2f} s to "
            f"{times_s[-1]:.2f} s; {clip.source_name} has {clip.times_s[0]:.2f} s to {clip.times_s[-1]:.2f} s."
        )
    original_frame(reconstruction.cameras, *clip.frame_size, content_of(reconstruction, clip))
    part = range(int(inside[0]), int(inside[-1]) + 1)
    return clip.read(part), clip.times_s[part.start : part.stop]


def _drawn(
    reconstruction: Reconstruction,
    images: Iterator[UInt8[np.ndarray, "height width 3"]],
    times_s: np.ndarray,
    size: tuple[int, int],
    layout: Layout,
    body: BodyModel | None,
    content_box: tuple[float, ...] = (),
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    at = FrameTimes.of(times_s, np.asarray(reconstruction.times_s, np.float64))
    cameras = cameras_at(reconstruction.cameras, at)
    pose = _poser(reconstruction, at, body)
    keypoints = [_keypoints_at(person, at) for person in reconstruction.people if person.keypoints_px is not None]
    world = WorldView.of(reconstruction, size) if layout == "side-by-side" else None
    for moment, (frame, image) in enumerate(zip(at.nearest, images, strict=True)):
        how = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_CUBIC
        picture = cv2.resize(np.ascontiguousarray(image), size, interpolation=how)
        bodies = pose(moment)
        dots = [(places[moment][sure[moment]], person) for places, sure, person in keypoints]
        drawn = overlay(reconstruction, int(frame), picture, bodies, cameras, moment, content_box, dots)
        if world is not None:
            drawn = np.hstack([drawn, world.picture(bodies, np.asarray(reconstruction.faces), cameras, moment)])
        yield drawn


def _keypoints_at(
    person: Person, at: FrameTimes
) -> tuple[Float[np.ndarray, "moments 17 2"], Bool[np.ndarray, "moments 17"], int]:
    """Where a person's keypoints are at each moment, which were detected in the frames around it, and the id."""
    keypoints, share = np.asarray(person.keypoints_px), at.share.numpy()[:, None]
    before, after = (keypoints[frames.numpy(), :, 2] >= KEYPOINT_CONFIDENCE for frames in (at.before, at.after))
    sure = (before | (share >= 1)) & (after | (share <= 0))
    return at.blend(keypoints[..., :2]).numpy(), sure, person.id


def _poser(
    reconstruction: Reconstruction, at: FrameTimes, body: BodyModel | None
) -> Callable[[int], list[tuple[Float[np.ndarray, "vertices 3"], int]]]:
    """What gives the vertices in the world, and the ids, of those who are seen at a moment."""
    people = [(person, seen_at(person, at)) for person in reconstruction.people]
    if bool((at.share.remainder(1) == 0).all()):
        frames = at.nearest
        return lambda moment: [
            (np.asarray(person.vertices_world[frames[moment]], np.float64), person.id)
            for person, seen in people
            if seen[moment]
        ]
    model = body_of(reconstruction, body)
    motions = [motion_world(person, at) for person, _ in people]

    def between(moment: int) -> list[tuple[Float[np.ndarray, "vertices 3"], int]]:
        posed = []
        for (person, seen), motion in zip(people, motions, strict=True):
            if seen[moment]:
                with torch.inference_mode():
                    betas = torch.from_numpy(np.array(person.betas))
                    vertices = model(
                        betas, motion.rotations[moment].float(), motion.translation[moment].float()
                    ).vertices
                posed.append((vertices.double().numpy(), person.id))
        return posed

    return between


def _even_size(width: int, height: int, long_side_px: int | None) -> tuple[int, int]:
    """Of the video's images: both sides even, the longer one at least 320 and at most `long_side_px`."""
    longer = max(width, height)
    wanted = max(_LEAST_SIDE_PX, min(longer, long_side_px or longer))
    return max(2, round(width * wanted / longer / 2) * 2), max(2, round(height * wanted / longer / 2) * 2)
