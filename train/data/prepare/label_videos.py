"""Turns videos into pseudo-labelled clips: people by a finder, depth and lens by another network, joints by ours.

    python -m train.data.prepare.label_videos --videos FOLDER --out DIR
    python -m train.data.prepare.label_videos --videos FOLDER --out DIR --share 0/4     # on the first of four machines
    accelerate launch -m train.data.prepare.label_videos --videos FOLDER --out DIR      # one process a GPU

Videos are sampled at 6 frames per second, cut at the cuts of the film, and then into clips of 5 s; clips that fail a
filter are counted under the reason. A process passes over videos that are finished or that another one is working on,
so a stopped run goes on where it was, and several may share one --out. What became of each video is in
DIR/.labels/SPLIT/, totals in DIR/.labels/SPLIT.json; delete a video's record there to label it again.
"""

import functools
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import torch
import tyro
from tqdm import tqdm

from train.cli import command_line_errors
from train.data.prepare.depth import DepthLabeller, DepthLabels, depth_labeller, intrinsics_of_fov
from train.data.prepare.filters import REASONS, FilterConfig, check_filters, reason_against
from train.data.prepare.footage import UnreadableVideoError, clips_of
from train.data.prepare.joints import own_joints_px
from train.data.prepare.records import Record, Records
from train.data.prepare.videos import Video, list_videos, share_of
from train.data.schema import UNLABELLED, ClipSample
from unish.body import BodyModel, open_body
from unish.errors import InputError
from unish.models.hub import load
from unish.models.unish import UniSH
from unish.people.detect_and_track import DetectAndTrack
from unish.people.detection import PersonDetector, detect_people
from unish.runs.identity import weights_digest
from unish.structures import Clip, PersonTrack
from unish.video import TRAINED_FPS
from unish.video.shots import ShotConfig

log = logging.getLogger("unish")

FINDERS = {"mini": DetectAndTrack}
"""Name for --finder → what makes one."""
ASSUMED_FOV_DEG = 55.0
"""Along the longer side of the image, where nobody says: about a phone's main camera when filming."""
PSEUDO = ("depth_m", "person_mask", "intrinsics", "boxes_px", "visibility", "joints_px")
_FORMATS = {"split": re.compile(r"[\w-]+"), "share": re.compile(r"(\d+)/(\d+)")}


@dataclass(frozen=True)
class LabelConfig:
    """Which videos are labelled, by what."""

    videos: str
    """A folder of videos, one video, or a Hub data set (owner/name) of video files or with a column of videos."""
    out: Path
    """Folder of the data set; shards come into OUT/SPLIT."""
    depth: str = "moge"
    """moge or moge-3 (or that and :REPOSITORY), the id or folder of a metric depth model of transformers, or
    relative:TEACHER, an ONNX file or a transformers model of relative depth, which is enough for stage 1."""
    finder: str = "mini"
    """Who finds people: mini."""
    weights: str = "auto"
    """Whose human branch says where joints are: auto, mini, release, a folder or a file (as for unish.load)."""
    frames: int = 30
    """Frames per clip."""
    fps: float = TRAINED_FPS
    """Frames per second."""
    split: str = "train"
    """Name of the split."""
    long_side_px: int = 640
    """Longer side of the images, at most."""
    fov_deg: float | None = None
    """Field of view along the longer side of the image, where all videos have the same and it is known."""
    share: str | None = None
    """i/n: label every n-th video from the i-th, counted from 0. Default: RANK/WORLD_SIZE of the launcher, else all."""
    device: str | None = None
    """cpu, cuda, cuda:1, …; default: the launcher's GPU, else the first one, else the CPU."""
    batch: int = 4
    """Frames that the depth network sees at once."""
    filters: tyro.conf.OmitArgPrefixes[FilterConfig] = field(default_factory=FilterConfig)
    shots: tyro.conf.OmitArgPrefixes[ShotConfig] = field(default_factory=ShotConfig)


def check(config: LabelConfig) -> None:
    """Raises InputError, naming the flag, for a choice that cannot be met."""
    if config.finder not in FINDERS:
        raise InputError(f"--finder should be one of {', '.join(FINDERS)}, got {config.finder}.")
    for name in ("frames", "long_side_px", "batch"):
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} should be at least 1, got {getattr(config, name)}.")
    if not config.fps > 0:
        raise InputError(f"--fps should be above 0, got {config.fps}.")
    if config.fov_deg is not None and not 1 < config.fov_deg < 179:
        raise InputError(f"--fov-deg should be within 1..179 degrees, got {config.fov_deg}.")
    if not _FORMATS["split"].fullmatch(config.split):
        raise InputError(f"--split should be a plain name like train, got {config.split}.")
    share_numbers(config.share)
    check_filters(config.filters)


def share_numbers(text: str | None) -> tuple[int, int]:
    """(i, n) of "i/n"; None: what the launcher's environment says, else (0, 1)."""
    if text is None:
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    match = _FORMATS["share"].fullmatch(text)
    if not match or int(match[1]) >= int(match[2]):
        raise InputError(f"--share should be i/n with 0 ≤ i < n, like 0/4, got {text}.")
    return int(match[1]), int(match[2])


# ---------------------------------------------------------------- one clip


@dataclass(frozen=True)
class Labeller:
    """Everything that looks at a clip."""

    finder: PersonDetector
    depth: DepthLabeller
    model: UniSH
    body: BodyModel
    filters: FilterConfig
    weights_sha256: str = ""
    """Digits that stand for the model's weights."""

    def label(self, clip: Clip, clip_id: str, wanted_fps: float) -> ClipSample | str:
        """The sample, or the reason (of `filters.REASONS`) for which the clip is rejected."""
        tracks = detect_people(clip, finder=self.finder).tracks
        reason = reason_against(tracks, clip.frames.shape[1:3], clip.fps, wanted_fps, self.filters)
        if reason is not None:
            return reason
        depth = self.depth.label(clip.frames)
        intrinsics = depth.intrinsics if depth.intrinsics is not None else _assumed_intrinsics(clip.frames.shape)
        joints = [own_joints_px(self.model, self.body, clip.frames, track.boxes_px, intrinsics) for track in tracks]
        return sample_of(clip, clip_id, tracks, depth, intrinsics, np.stack(joints))


def sample_of(
    clip: Clip,
    clip_id: str,
    tracks: tuple[PersonTrack, ...],
    depth: DepthLabels,
    intrinsics: np.ndarray,
    joints_px: np.ndarray,
) -> ClipSample:
    """A sample with everything that is guessed, and placeholders for what nobody knows."""
    frames, people = len(clip.frames), len(tracks)
    present = np.stack([track.present for track in tracks])
    eye = np.eye(4, dtype=np.float32)
    return ClipSample(
        clip_id=clip_id,
        fps=clip.fps,
        images=clip.frames,
        depth_m=depth.depth_m,
        person_mask=person_mask(tracks, clip.frames.shape[1:3]),
        intrinsics=intrinsics,
        world_from_camera=np.tile(eye, (frames, 1, 1)),
        body_rotations=np.tile(eye[:3, :3], (people, frames, 24, 1, 1)),
        translation_camera=np.zeros((people, frames, 3), np.float32),
        betas=np.zeros((people, 10), np.float32),
        boxes_px=np.where(present[..., None], [track.boxes_px for track in tracks], 0).astype(np.float32),
        visibility=present.astype(np.float32),
        joints_px=np.where(present[..., None, None], joints_px, np.nan).astype(np.float32),
        pseudo=PSEUDO,
        unknown=UNLABELLED,
    )


def person_mask(tracks: tuple[PersonTrack, ...], frame_shape: tuple[int, int]) -> np.ndarray:
    """Label image of the people at the images' size: 0 nobody, p + 1 person p; their boxes where masks lack."""
    height, width = frame_shape
    labels = np.zeros((len(tracks[0].present), height, width), np.uint8)
    for number, track in enumerate(tracks, start=1):
        for frame in np.flatnonzero(track.present):
            if track.masks is None:
                x0, y0, x1, y1 = np.clip(np.round(track.boxes_px[frame]), 0, [width, height] * 2).astype(int)
                labels[frame, y0:y1, x0:x1] = number
            else:
                shown = cv2.resize(track.masks[frame].astype(np.float32), (width, height))
                labels[frame][shown > 0.5] = number
    return labels


def _assumed_intrinsics(shape: tuple[int, ...]) -> np.ndarray:
    _warn_once(
        f"The depth network says nothing of the lens: a field of view of {ASSUMED_FOV_DEG:g}° along the longer side "
        "is assumed. Say a better one with --fov-deg, or use --depth moge."
    )
    return intrinsics_of_fov(ASSUMED_FOV_DEG, shape[0], shape[2], shape[1])


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)


# ---------------------------------------------------------------- all videos


def label_videos(config: LabelConfig, labeller: Labeller, videos: list[Video]) -> dict[str, Any]:
    """Labels this process's share of the videos; returns the summary over everything in --out (see `Records`)."""
    records = Records(config.out, config.split)
    records.prepare(_settings(config, labeller))
    mine, busy = share_of(videos, share_numbers(config.share)), []
    with tqdm(mine, unit="video", desc=f"share {'/'.join(map(str, share_numbers(config.share)))}") as bar:
        for video in bar:
            content = _content(video)
            if records.is_finished(video.name, content):
                continue
            with records.claim(video.name, content) as is_mine:
                if is_mine:
                    record = Record(video.place, content=content)
                    records.write(video.name, record, _samples(video, config, labeller, record))
                    bar.set_postfix_str(f"{record.accepted} clips from {video.name}")
                elif not records.is_finished(video.name, content):
                    busy.append(video.place)
    if busy:
        log.warning(
            f"Another process is at work on {len(busy)} videos ({busy[0]}, …); start again when it has ended, in case "
            "it does not finish."
        )
    return records.summarize()


def _content(video: Video) -> str:
    try:
        return video.content()
    except InputError:
        return ""  # its record will say that it cannot be read


def _samples(video: Video, config: LabelConfig, labeller: Labeller, record: Record) -> Iterator[ClipSample]:
    """The good clips of a video; counts the others in the record."""

    def too_short() -> None:
        record.rejected["too_short"] += 1

    try:
        with video.opened() as path:
            clips = clips_of(path, config.frames, config.fps, config.long_side_px, config.shots, too_short)
            for clip in clips:
                clip_id = f"{video.name}-{round(1000 * clip.times_s[0]):08d}ms"
                labelled = labeller.label(clip, clip_id, config.fps)
                if isinstance(labelled, str):
                    record.rejected[labelled] += 1
                else:
                    record.accepted += 1
                    yield labelled
    except UnreadableVideoError as error:
        record.error = str(error)


def _settings(config: LabelConfig, labeller: Labeller) -> dict[str, Any]:
    """What the labels depend on; a data set holds labels of one kind. "auto" weights may differ between machines."""
    networks = {"depth": labeller.depth.name, "finder": labeller.finder.name, "weights": labeller.model.weights_name}
    networks["weights_sha256"] = labeller.weights_sha256
    names = ("frames", "fps", "long_side_px", "fov_deg", "filters", "shots")
    return networks | {name: value for name, value in asdict(config).items() if name in names}


def summary_in_words(summary: dict[str, Any]) -> str:
    """The summary as lines of text."""
    lines = [f"{summary['accepted']} clips from {summary['videos_with_clips']} of {summary['videos']} videos"]
    lines += [f"{count:7d} rejected: {REASONS[name]} ({name})" for name, count in summary["rejected"].items()]
    lines += [f"        unreadable: {video}: {error}" for video, error in summary["unreadable"].items()]
    return "\n".join(lines)


def make_labeller(config: LabelConfig) -> Labeller:
    """Loads every network, weakest paths announced."""
    rank = os.environ.get("LOCAL_RANK")
    device = config.device or (f"cuda:{rank or 0}" if torch.cuda.is_available() else "cpu")
    if config.finder == "mini":
        log.warning("Person detection uses the bundled mini detector, which misses people: check its labels.")
    depth = depth_labeller(config.depth, torch.device(device), config.fov_deg, config.batch)
    # In one precision, so that machines with and without a GPU make labels of one kind.
    model = load(config.weights, device=device, dtype=torch.float32).eval()
    return Labeller(FINDERS[config.finder](), depth, model, open_body(), config.filters, weights_digest(model))


def main(config: LabelConfig) -> None:
    """Labels, and prints what came of it."""
    check(config)
    datasets.disable_progress_bars()
    videos = list_videos(config.videos)
    summary = label_videos(config, make_labeller(config), videos)
    print(summary_in_words(summary))


if __name__ == "__main__":
    with command_line_errors():
        main(tyro.cli(LabelConfig, prog="python -m train.data.prepare.label_videos", description=__doc__))
