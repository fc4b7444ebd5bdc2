"""From a folder of videos to shards: whole clips with their labels, once each, whoever is stopped or started beside."""

import json
import logging
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pytest

from tests.helpers.videos import gray_ramp, write_video
from train.data.prepare import label_videos as module
from train.data.prepare.depth import DepthLabels, intrinsics_of_fov
from train.data.prepare.filters import FilterConfig
from train.data.prepare.label_videos import (
    ASSUMED_FOV_DEG,
    PSEUDO,
    LabelConfig,
    Labeller,
    check,
    label_videos,
    main,
    person_mask,
    sample_of,
    share_numbers,
)
from train.data.prepare.videos import list_videos
from train.data.schema import UNLABELLED, iterate_clips
from unish.body import open_body
from unish.errors import InputError
from unish.models.unish import UniSH
from unish.people.detect_and_track import DetectAndTrack
from unish.structures import Clip, PersonTrack
from unish.utils.assets import SAMPLE_CLIP


@dataclass(frozen=True)
class WallDepth:
    """A wall 4 m away, with a hole."""

    with_lens: bool = True
    name: str = "wall"

    def label(self, frames: np.ndarray) -> DepthLabels:
        depth_m = np.full(frames.shape[:3], 4.0, np.float32)
        depth_m[:, :10] = 0
        height, width = frames.shape[1:3]
        return DepthLabels(depth_m, intrinsics_of_fov(70, len(frames), width, height) if self.with_lens else None)


def whole_track(clip: Clip) -> PersonTrack:
    frames, height, width = clip.frames.shape[:3]
    boxes = np.tile([0.3 * width, 0.2 * height, 0.5 * width, 0.9 * height], (frames, 1))
    return PersonTrack(1, boxes, np.ones(frames, bool), np.ones(frames))


class NoNetwork(UniSH):
    """Stands for a network that nobody asks."""

    weights_name = "none"

    def __init__(self) -> None:
        pass


class QuickLabeller(Labeller):
    """Labels anything at once, and remembers what."""

    finder = SimpleNamespace(name="anybody")
    model = NoNetwork()
    depth = WallDepth()
    weights_sha256 = "1"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def label(self, clip: Clip, clip_id: str, wanted_fps: float):
        self.seen.append(clip_id)
        depth = self.depth.label(clip.frames)
        joints = np.zeros((1, len(clip.frames), 24, 2))
        return sample_of(clip, clip_id, (whole_track(clip),), depth, depth.intrinsics, joints)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four short videos and a broken one."""
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(4):
        write_video(videos / f"{number}.mp4", gray_ramp(9, step=2), rate=6)
    (videos / "broken.mp4").write_bytes(b"no video")
    return videos


def quick_config(folder: Path, out: Path, **options) -> LabelConfig:
    return LabelConfig(str(folder), out, depth="wall", frames=4, **options)


def run(config: LabelConfig, labeller) -> dict:
    return label_videos(config, labeller, list_videos(config.videos))


# ---------------------------------------------------------------- labels


def test_a_video_becomes_labelled_clips(tmp_path, monkeypatch, capsys):
    """The mini finder and the mini weights on the bundled clip, whose people are known to be there."""
    monkeypatch.setattr(module, "depth_labeller", lambda *arguments: WallDepth())
    videos = tmp_path / "videos"
    videos.mkdir()
    shutil.copy(SAMPLE_CLIP, videos / "walk.mp4")
    main(LabelConfig(str(videos), tmp_path / "data", weights="mini", frames=12, long_side_px=320, device="cpu"))
    assert "3 clips from 1 of 1 videos" in capsys.readouterr().out
    clips = list(iterate_clips(tmp_path / "data"))
    assert len(clips) == len({clip.clip_id for clip in clips}) == 3
    for clip in clips:
        assert clip.images.shape == (12, 240, 320, 3) and clip.fps == 6.0 and clip.people == 1
        assert clip.pseudo == PSEUDO and clip.unknown == UNLABELLED
        assert (clip.depth_m[:, :10] == 0).all() and (clip.depth_m[:, 10:] == 4).all()
        np.testing.assert_allclose(clip.intrinsics, intrinsics_of_fov(70, 12, 320, 240))
        assert (clip.world_from_camera == np.eye(4)).all() and (clip.body_rotations == np.eye(3)).all()
        seen = clip.visibility[0] > 0
        assert seen.mean() >= 0.9
        x0, y0, x1, y1 = clip.boxes_px[0, seen].T
        joints = clip.joints_px[0, seen]
        assert np.isfinite(joints).all()
        assert (joints[..., 0] > x0[:, None] - 40).all() and (joints[..., 0] < x1[:, None] + 40).all()
        assert (joints[..., 1] > y0[:, None] - 10).all() and (joints[..., 1] < y1[:, None] + 10).all()
        for box, mask in zip(clip.boxes_px[0, seen], clip.person_mask[seen], strict=True):
            left, top, right, bottom = box.round().astype(int)
            inside = mask[top:bottom, left:right].sum() / mask.sum()
            assert set(np.unique(mask)) == {0, 1} and inside > 0.8


def test_rejected_clips_are_counted_under_their_reason(tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "nobody.mp4", gray_ramp(10, step=2), rate=6)
    write_video(videos / "slow.mp4", gray_ramp(9, step=2), rate=2)
    config = quick_config(videos, tmp_path / "data")
    labeller = Labeller(DetectAndTrack(), WallDepth(), NoNetwork(), open_body(), FilterConfig())
    summary = run(config, labeller)
    assert summary["accepted"] == 0 and summary["rejected"] == {"nobody": 2, "slow": 2, "too_short": 2}
    assert summary == json.loads((tmp_path / "data" / ".labels" / "train.json").read_text())
    assert not list((tmp_path / "data").rglob("*.parquet"))


def test_absent_frames_hold_nothing():
    frames = np.zeros((3, 40, 60, 3), np.uint8)
    clip = Clip(frames, np.arange(3) / 6, 6.0, "made", (60, 40))
    present = np.array([True, False, True])
    masks = np.zeros((3, 20, 30), bool)
    masks[:, 5:15, 10:20] = True
    track = PersonTrack(1, np.tile([20.0, 10, 40, 30], (3, 1)), present, np.ones(3), masks)
    depth = WallDepth().label(frames)
    sample = sample_of(clip, "a", (track,), depth, depth.intrinsics, np.ones((1, 3, 24, 2)))
    assert sample.visibility.tolist() == [[1, 0, 1]]
    assert np.isnan(sample.joints_px[0, 1]).all() and np.isfinite(sample.joints_px[0, [0, 2]]).all()
    assert (sample.boxes_px[0, 1] == 0).all() and (sample.person_mask[1] == 0).all()
    assert (sample.person_mask[0, 11:29, 21:39] == 1).all() and sample.person_mask[0].sum() == pytest.approx(
        400, abs=40
    )


def test_masks_of_people_without_masks_are_their_boxes():
    box = np.array([[10.0, 5.0, 20.0, 25.0]])
    tracks = tuple(PersonTrack(k, box + 10 * k, np.ones(1, bool), np.ones(1)) for k in (0, 1))
    labels = person_mask(tracks, (30, 40))
    assert labels[0, 6, 12] == 1 and labels[0, 20, 25] == 2 and labels[0, 2, 2] == 0


def test_a_lens_that_nobody_knows_is_assumed_and_said_once(tmp_path, caplog, monkeypatch):
    module._warn_once.cache_clear()
    monkeypatch.setattr(module, "own_joints_px", lambda model, body, images, boxes, k: np.zeros((len(images), 24, 2)))
    finder = SimpleNamespace(name="one", track=lambda frames, progress: (whole_track(SimpleNamespace(frames=frames)),))
    labeller = Labeller(finder, WallDepth(with_lens=False), NoNetwork(), open_body(), FilterConfig())
    clip = Clip(np.zeros((4, 48, 64, 3), np.uint8), np.arange(4) / 6, 6.0, "made", (64, 48))
    with caplog.at_level(logging.WARNING, "unish"):
        samples = [labeller.label(clip, str(k), 6.0) for k in range(2)]
    assert [f"{ASSUMED_FOV_DEG:g}°" in record.message for record in caplog.records] == [True]
    for sample in samples:
        np.testing.assert_allclose(sample.intrinsics, intrinsics_of_fov(ASSUMED_FOV_DEG, 4, 64, 48))
        assert "intrinsics" in sample.pseudo


# ---------------------------------------------------------------- many videos, many processes


def test_a_corrupt_video_is_skipped_and_named_and_nothing_is_done_twice(folder, tmp_path):
    config, labeller = quick_config(folder, tmp_path / "data"), QuickLabeller()
    summary = run(config, labeller)
    assert summary["videos"] == 5 and summary["videos_with_clips"] == 4 and summary["accepted"] == 8
    assert list(summary["unreadable"]) == ["broken.mp4"] and "broken.mp4" in summary["unreadable"]["broken.mp4"]
    assert "unreadable: broken.mp4" in module.summary_in_words(summary)
    assert [clip.clip_id for clip in iterate_clips(tmp_path / "data")] == sorted(labeller.seen)
    loaded = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 8}
    again = QuickLabeller()
    assert run(config, again) == summary and not again.seen
    write_video(folder / "new.mp4", gray_ramp(9, step=2), rate=6)
    assert run(config, again)["accepted"] == 10 and len(again.seen) == 2


def test_a_video_that_was_replaced_is_labelled_again(folder, tmp_path):
    config, first, again = quick_config(folder, tmp_path / "data"), QuickLabeller(), QuickLabeller()
    assert run(config, first)["accepted"] == 8
    write_video(folder / "2.mp4", gray_ramp(14, step=2), rate=6)
    summary = run(config, again)
    assert [clip_id.partition("-")[0] for clip_id in again.seen] == ["2", "2", "2"]
    assert summary["accepted"] == 9 and summary["videos"] == 5
    clips = [clip.clip_id for clip in iterate_clips(tmp_path / "data")]
    assert len(clips) == len(set(clips)) == 9
    (folder / "broken.mp4").write_bytes(b"not a video either")
    assert list(run(config, again)["unreadable"]) == ["broken.mp4"] and len(again.seen) == 3


def test_shares_partition_the_videos(folder, tmp_path, monkeypatch):
    labellers = [QuickLabeller() for _ in range(3)]
    for index in (2, 0):
        run(quick_config(folder, tmp_path / "data", share=f"{index}/3"), labellers[index])
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    summary = run(quick_config(folder, tmp_path / "data"), labellers[1])
    seen = [clip_id for labeller in labellers for clip_id in labeller.seen]
    assert len(seen) == len(set(seen)) == summary["accepted"] == 8 and summary["videos"] == 5
    assert all(labeller.seen for labeller in labellers)
    assert share_numbers("3/7") == (3, 7)


def test_a_stopped_run_keeps_what_is_finished(folder, tmp_path):
    class Stopped(QuickLabeller):
        def label(self, clip, clip_id, wanted_fps):
            if len(self.seen) == 3:
                raise KeyboardInterrupt
            return super().label(clip, clip_id, wanted_fps)

    config, first = quick_config(folder, tmp_path / "data"), Stopped()
    with pytest.raises(KeyboardInterrupt):
        run(config, first)
    assert [clip.clip_id for clip in iterate_clips(tmp_path / "data")] == first.seen[:2]
    assert not list((tmp_path / "data").rglob(".unish-*"))
    second = QuickLabeller()
    assert run(config, second)["accepted"] == 8
    assert first.seen[:2] == sorted(first.seen[:2]) and not set(first.seen[:2]) & set(second.seen)


def test_a_full_disk_is_one_sentence_and_the_rest_stays(folder, tmp_path, monkeypatch):
    config, labeller = quick_config(folder, tmp_path / "data"), QuickLabeller()
    whole = datasets.Dataset.to_parquet

    def full(self, path, **options):
        if len(labeller.seen) > 2:
            Path(path).write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return whole(self, path, **options)

    monkeypatch.setattr(datasets.Dataset, "to_parquet", full)
    with pytest.raises(InputError, match="No space left on device"):
        run(config, labeller)
    assert len(list(iterate_clips(tmp_path / "data"))) == 2
    monkeypatch.setattr(datasets.Dataset, "to_parquet", whole)
    assert run(config, QuickLabeller())["accepted"] == 8
    assert len(list(iterate_clips(tmp_path / "data"))) == 8


def test_one_data_set_holds_labels_of_one_kind(folder, tmp_path):
    run(quick_config(folder, tmp_path / "data"), QuickLabeller())
    with pytest.raises(InputError, match=r"long_side_px = 640, now it is 320"):
        run(quick_config(folder, tmp_path / "data", long_side_px=320), QuickLabeller())
    other = QuickLabeller()
    vars(other)["depth"] = WallDepth(name="another")
    with pytest.raises(InputError, match=r"depth = wall, now it is another"):
        run(quick_config(folder, tmp_path / "data"), other)
    retrained = QuickLabeller()
    vars(retrained)["weights_sha256"] = "2"
    with pytest.raises(InputError, match=r"weights_sha256 = 1, now it is 2"):
        run(quick_config(folder, tmp_path / "data"), retrained)
    run(quick_config(folder, tmp_path / "data", split="validation", long_side_px=320), other)


SLOW_PROCESS = """
    import sys, time
    from pathlib import Path
    from tests.train.test_label_videos import QuickLabeller, quick_config, run

    class Slow(QuickLabeller):
        def label(self, clip, clip_id, wanted_fps):
            with open(sys.argv[3], "a") as log:
                print(clip_id, file=log, flush=True)
            time.sleep(float(sys.argv[4]))
            return super().label(clip, clip_id, wanted_fps)

    run(quick_config(Path(sys.argv[1]), Path(sys.argv[2])), Slow())
"""


def start(folder: Path, out: Path, log: Path, seconds_a_clip: float, repository: Path) -> subprocess.Popen:
    arguments = [str(folder), str(out), str(log), str(seconds_a_clip)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW_PROCESS), *arguments], cwd=repository, stderr=subprocess.PIPE
    )


@pytest.mark.slow
def test_two_processes_at_once_label_each_video_once(folder, tmp_path, repository):
    out, log = tmp_path / "data", tmp_path / "log"
    processes = [start(folder, out, log, 0.3, repository) for _ in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0], [process.stderr.read() for process in processes]
    counts = Counter(log.read_text().split())
    assert len(counts) == 8 and set(counts.values()) == {1}
    assert sorted(counts) == [clip.clip_id for clip in iterate_clips(out)]
    assert not list((out / ".labels" / "train" / "locks").iterdir())


def test_a_killed_run_goes_on_where_it_was(folder, tmp_path, repository):
    out, log = tmp_path / "data", tmp_path / "log"
    process = start(folder, out, log, 0.5, repository)
    deadline = time.monotonic() + 60
    while not (log.is_file() and len(log.read_text().split()) >= 3) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    started = log.read_text().split()
    assert len(started) == 3  # one video is finished, the second half done
    half_done = out / "train" / f"{started[2].rsplit('-', 1)[0]}-000.parquet"
    shutil.copy(next((out / "train").glob("*.parquet")), half_done)  # as if killed before the record was written
    labeller = QuickLabeller()
    assert run(quick_config(folder, out), labeller)["accepted"] == 8
    assert set(labeller.seen).isdisjoint(started[:2]) and started[2] in labeller.seen
    assert [clip.clip_id for clip in iterate_clips(out)] == sorted({*started, *labeller.seen})


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    "wrong",
    [{"share": "4/4"}, {"share": "one"}, {"frames": 0}, {"fps": 0.0}, {"finder": "eyes"}, {"fov_deg": 190.0},
     {"split": "a/b"}, {"filters": FilterConfig(people_max=0)}],
)  # fmt: skip
def test_choices_are_checked(tmp_path, wrong):
    name = next(iter(wrong))
    flag = "people-max" if name == "filters" else name.replace("_", "-")
    with pytest.raises(InputError, match=f"^--{flag} "):
        check(LabelConfig(videos=str(tmp_path), out=tmp_path / "data", **wrong))


def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, repository):
    command = [sys.executable, "-m", "train.data.prepare.label_videos", "--videos", str(tmp_path), "--out"]
    done = subprocess.run([*command, str(tmp_path / "data")], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: Expected videos") and done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_real_footage(clips_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "depth_labeller", lambda *arguments: WallDepth())
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("skating.mp4", "man_walking_1fps.mp4"):
        shutil.copy(clips_dir / name, videos)
    main(LabelConfig(str(videos), tmp_path / "data", weights="mini", frames=10, device="cpu"))
    summary = json.loads((tmp_path / "data" / ".labels" / "train.json").read_text())
    rejected = Counter(summary["rejected"])
    assert rejected["slow"] == 2  # one frame a second
    assert summary["accepted"] + rejected["truncated"] + rejected["absent"] == 2 and not summary["unreadable"]
