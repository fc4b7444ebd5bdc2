"""What the network is given of a window, made ready in threads while the network is at the window before."""

import functools
import os
from collections.abc import Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int, UInt8
from torch import Tensor

from unish.pipeline.options import NetworkChoices
from unish.structures import Clip, PersonTrack
from unish.utils.prefetch import prefetch
from unish.video.preprocess import CROP_SIZE_PX, FrameTransform, crop_people, resize_frames

MOST_THREADS = 8


@dataclass(frozen=True)
class Prepared:
    """A window as the network sees it."""

    frames: Int[np.ndarray, "frames"]
    here: tuple[int, ...]
    """Indices of the tracks that are seen in it."""
    images: UInt8[np.ndarray, "frames height width 3"]
    crops: Float32[Tensor, "people frames 3 256 256"]
    boxes: Float32[Tensor, "people frames 4"]
    """Of the people, in pixels of the network's frame; crops are `NetworkChoices.box_scale` times as large."""


def prepared_windows(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    windows: tuple[range, ...],
    frame: FrameTransform,
    images: UInt8[np.ndarray, "clip_frames height width 3"],
    *,
    ahead: bool,
    choices: NetworkChoices = NetworkChoices(),  # noqa: B008 (frozen)
) -> Generator[Prepared]:
    """The windows of a clip in order; on the way, `images` is filled with the clip's frames at the network's size.

    With `ahead`, a window is made ready while the caller is busy with the one before it.
    """
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as threads:

        def make(number: int) -> Prepared:
            done = windows[number - 1].stop if number else 0
            return _prepare(clip, tracks, windows[number], done, frame, images, choices, threads)

        yield from (prefetch if ahead else map)(make, range(len(windows)))


def _prepare(
    clip: Clip,
    tracks: tuple[PersonTrack, ...],
    window: range,
    done: int,
    frame: FrameTransform,
    images: UInt8[np.ndarray, "clip_frames height width 3"],
    choices: NetworkChoices,
    threads: Executor,
) -> Prepared:
    """One window, the first `done` frames of the clip being in `images` already."""

    def resize(number: int) -> None:
        images[number] = resize_frames(clip.frames[number : number + 1], frame)[0]

    def crop(track: PersonTrack, number: int) -> Tensor:
        frames, boxes = clip.frames[number : number + 1], track.boxes_px[number : number + 1]
        if choices.crop_source == "network":
            frames, boxes = resize_frames(frames, frame), frame.map_boxes(torch.from_numpy(boxes)).numpy()
        return crop_people(frames, boxes, choices.box_scale)[0]

    list(threads.map(resize, range(max(done, window.start), window.stop)))
    frames = np.arange(window.start, window.stop)
    here = tuple(index for index, track in enumerate(tracks) if track.present[frames].any())
    crops = torch.empty(len(here), len(frames), 3, CROP_SIZE_PX, CROP_SIZE_PX)
    boxes = torch.empty(len(here), len(frames), 4)
    for place, track in enumerate(tracks[index] for index in here):
        shown = source_frames(track)[frames]
        for at, cut in enumerate(threads.map(functools.partial(crop, track), shown.tolist())):
            crops[place, at] = cut
        boxes[place] = frame.map_boxes(torch.from_numpy(track.boxes_px[shown]).float())
    return Prepared(frames, here, images[frames], crops, boxes)


def source_frames(track: PersonTrack) -> Int[np.ndarray, "frames"]:
    """For each frame the nearest one in which the person is seen."""
    seen = np.flatnonzero(track.present)
    frames = np.arange(len(track.present))
    after = np.searchsorted(seen, frames).clip(max=len(seen) - 1)
    before = (after - 1).clip(min=0)
    return np.where(frames - seen[before] <= seen[after] - frames, seen[before], seen[after])
