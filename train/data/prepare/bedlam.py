"""BEDLAM as it is downloaded, turned into shards of `train.data.schema`.

python -m train.data.prepare.bedlam --root RAW --labels bedlam-labels-smpl.zip --out data/bedlam

BEDLAM (Black et al., CVPR 2023) is for registered, non-commercial users and must not be passed on: a copy on the Hub
is private, or is not made.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# One thread a worker: more would only fight over the cores.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import cv2  # noqa: E402
import datasets  # noqa: E402
import tqdm  # noqa: E402
import tyro  # noqa: E402

from train.cli import command_line_errors  # noqa: E402
from train.data.prepare.bedlam_clips import ClipSettings, sequence_clips  # noqa: E402
from train.data.prepare.bedlam_files import import_openexr, label_files, read_labels, scene_name  # noqa: E402
from train.data.schema import ClipSample, write_shards  # noqa: E402
from unish.errors import InputError  # noqa: E402
from unish.utils.atomic_write import atomic_path  # noqa: E402
from unish.video import TRAINED_FPS  # noqa: E402

HDRI_SCENES = (
    "20221010_3_1000_batch01hand",
    "20221017_3_1000_batch01hand",
    "20221018_3-8_250_batch01hand",
    "20221019_3_250_highbmihand",
)
"""Scenes in front of a photographed panorama, which has no depth. Their names do not say so."""
NOTES = ".prepared"
"""Folder beside the splits that says which shards are done and what was left out; a dot hides it from readers."""
SEQUENCES_A_SHARD = 8
_MOST_NAMED = 20


@dataclass(frozen=True)
class BedlamConfig:
    """Turn BEDLAM as downloaded into clips, as shards OUT/SPLIT/SCENE-00000.parquet, … of a Hugging Face data set.

    A scene is a folder RAW/SCENE with png/, depth/, masks/ and ground_truth/camera/. Scenes without depth (HDRI) and
    rotated ones (closeup) are left out. Finished shards are kept, so a stopped run goes on where it was. A sequence
    with a missing or damaged piece is skipped and named at the end; to try it again, delete its shard's note in
    OUT/.prepared.
    """

    root: Path
    """Folder of the unpacked scenes."""
    labels: Path
    """bedlam-labels-smpl.zip, or the folder unpacked from it."""
    out: Path
    """Folder of the data set."""
    split: str = "train"
    """Name of the split."""
    scenes: tuple[str, ...] = ()
    """Only these scenes; all when none is named. Give validation scenes that train has not."""
    frames: int = 30
    """Frames a clip."""
    stride: int | None = None
    """Frames from the start of a clip to the start of the next; as many as a clip has when not given."""
    min_frames: int = 8
    """A sequence, or the rest of one, that is shorter than this gives no clip."""
    fps: float = TRAINED_FPS
    """Frames a second of the clips."""
    source_fps: float | None = None
    """Frames a second of the files, where neither the scene's name (…_6fps, …_30fps) nor the numbering says it."""
    long_side_px: int | None = None
    """Longer side of the images; as rendered (1280) when not given."""
    workers: int = 2
    """Processes."""
    push_to_hub: str | None = None
    """OWNER/NAME of a private dataset repository on the Hub that receives the finished folder."""


@dataclass(frozen=True)
class Shard:
    """A few sequences of one scene, which become one file."""

    scene: str
    index: int
    sequences: tuple[str, ...]

    @property
    def name(self) -> str:
        """File name without its ending."""
        return f"{self.scene}-{self.index:05d}"


# ---------------------------------------------------------------- what there is


def check(config: BedlamConfig) -> None:
    """Raises InputError, naming the flag, for what cannot be prepared; MissingDependencyError without OpenEXR."""
    if not re.fullmatch(r"\w+", config.split):
        raise InputError(f"--split should be a word like train, got {config.split!r}.")
    for name in ("frames", "stride", "min_frames", "workers", "long_side_px", "fps", "source_fps"):
        value = getattr(config, name)
        if value is not None and not value >= (1 if isinstance(value, int) else 1e-3):
            raise InputError(f"--{name.replace('_', '-')} should be above 0, got {value}.")
    if config.push_to_hub is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", config.push_to_hub):
        raise InputError(f"--push-to-hub should be OWNER/NAME, got {config.push_to_hub!r}.")
    import_openexr()


def find_scenes(config: BedlamConfig) -> tuple[list[str], dict[str, str]]:
    """Scenes to prepare, and the reason for each that is left out.

    Raises InputError for a folder that holds no scenes, and for a scene that is asked for but not there.
    """
    root = config.root
    present = sorted(folder.parent.name for folder in root.glob("*/png") if folder.is_dir())
    if not present:
        got = "a scene's own folder" if (root / "png").is_dir() else "none" if root.is_dir() else "no such folder"
        raise InputError(
            f"--root {root} should hold scenes of BEDLAM like 20221013_3_250_batch01hand_orbit_bigOffice/png/, "
            f"found {got}; give the folder above the unpacked scenes."
        )
    strangers = sorted(set(config.scenes) - set(present))
    if strangers:
        raise InputError(f"--scenes should name folders of {root}, got {', '.join(strangers)}; see what is there.")
    labelled = label_files(config.labels)
    chosen, left_out = [], {}
    for scene in config.scenes or present:
        reason = _reason_to_leave_out(root / scene, scene in labelled or scene_name(scene) in labelled)
        if reason:
            left_out[scene] = reason
        else:
            chosen.append(scene)
    return chosen, left_out


def _reason_to_leave_out(scene: Path, labelled: bool) -> str | None:
    if "closeup" in scene.name:
        return "closeup, its images are rotated"
    if "hdri" in scene.name.lower() or scene_name(scene.name) in HDRI_SCENES:
        return "HDRI, no depth"
    if not (scene / "depth").is_dir():
        return "no folder depth"
    return None if labelled else "no labels"


def plan_shards(root: Path, scenes: list[str]) -> list[Shard]:
    """The shards of all scenes, the same ones in every run."""
    shards = []
    for scene in scenes:
        names = sorted(folder.name for folder in (root / scene / "png").iterdir() if folder.is_dir())
        groups = [tuple(names[start : start + SEQUENCES_A_SHARD]) for start in range(0, len(names), SEQUENCES_A_SHARD)]
        shards += [Shard(scene, index, group) for index, group in enumerate(groups)]
    return shards


# ---------------------------------------------------------------- what is made


def settings_of(config: BedlamConfig) -> ClipSettings:
    """The part of the configuration on which the clips depend."""
    stride = config.stride or config.frames
    min_frames = min(config.min_frames, config.frames)
    return ClipSettings(config.frames, stride, min_frames, config.fps, config.source_fps, config.long_side_px)


def make_shard(config: BedlamConfig, shard: Shard) -> dict[str, Any]:
    """Writes a shard and its note, the shard first, each only when it is whole; returns the note.

    Raises InputError for a label file that cannot be used.
    """
    cv2.setNumThreads(1)
    datasets.disable_progress_bars()
    known = label_files(config.labels)
    labels = read_labels(config.labels, known[shard.scene if shard.scene in known else scene_name(shard.scene)])
    names: list[str] = []
    skipped: dict[str, str] = {}

    def clips() -> Iterator[ClipSample]:
        for sequence in shard.sequences:
            try:
                for clip in sequence_clips(config.root / shard.scene, sequence, labels, settings_of(config)):
                    names.append(clip.clip_id)
                    yield clip
            except InputError as error:
                skipped[sequence] = str(error).rstrip(".")

    path = config.out / config.split / f"{shard.name}.parquet"
    with atomic_path(_note_path(config, shard)) as temporary:
        written = write_shards(clips(), temporary.parent / "shard", per_shard=sys.maxsize)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if written:
            written[0].rename(path)
        note = _asked(config, shard) | {"clips": len(names), "skipped": skipped}
        temporary.write_text(json.dumps(note, indent=1) + "\n")
    return note


def _note_path(config: BedlamConfig, shard: Shard) -> Path:
    return config.out / NOTES / config.split / f"{shard.name}.json"


def _asked(config: BedlamConfig, shard: Shard) -> dict[str, Any]:
    return {"settings": asdict(settings_of(config)), "sequences": list(shard.sequences)}


def finished(config: BedlamConfig, shard: Shard) -> dict[str, Any] | None:
    """The note of a shard that is done already, None for one to be made.

    Raises InputError where it was made with other settings.
    """
    try:
        note = json.loads(_note_path(config, shard).read_text())
    except (OSError, ValueError):
        return None
    asked = _asked(config, shard)
    if note["settings"] != asked["settings"]:
        changed = [name for name, value in asked["settings"].items() if note["settings"].get(name) != value]
        raise InputError(
            f"{config.out} holds clips made with another --{changed[0].replace('_', '-')} "
            f"({note['settings'].get(changed[0])}); use the same one, or another --out."
        )
    whole = not note["clips"] or (config.out / config.split / f"{shard.name}.parquet").is_file()
    return note if whole and note["sequences"] == asked["sequences"] else None


def prepare(config: BedlamConfig) -> None:
    """Makes the missing shards in `workers` processes, says what was left out, and uploads if asked to.

    Raises InputError for what cannot be prepared, and where no clip at all came of it.
    """
    check(config)
    read_labels.cache_clear()  # the files may have changed since an earlier call
    scenes, left_out = find_scenes(config)
    if config.push_to_hub:
        check_private(config.push_to_hub)
    shards = plan_shards(config.root, scenes)
    notes = {shard: finished(config, shard) for shard in shards}
    missing = [shard for shard, note in notes.items() if note is None]
    total = sum(len(shard.sequences) for shard in shards)
    done = total - sum(len(shard.sequences) for shard in missing)
    with tqdm.tqdm(total=total, initial=done, unit="sequence") as bar:
        for shard, note in _made(config, missing):
            notes[shard] = note
            bar.update(len(shard.sequences))
    clips = summarize(config, {shard: note for shard, note in notes.items() if note}, left_out)
    if not clips:
        raise InputError(f"No clip could be made of {config.root}; see the reasons above.")
    if config.push_to_hub:
        push(config.out, config.push_to_hub)


def _made(config: BedlamConfig, missing: list[Shard]) -> Iterator[tuple[Shard, dict[str, Any]]]:
    if config.workers == 1 or len(missing) < 2:
        yield from ((shard, make_shard(config, shard)) for shard in missing)
        return
    with ProcessPoolExecutor(min(config.workers, len(missing)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(make_shard, config, shard): shard for shard in missing}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def summarize(config: BedlamConfig, notes: dict[Shard, dict[str, Any]], left_out: dict[str, str]) -> int:
    """Prints how many clips there are and what was left out and why; returns the number of clips."""
    clips = sum(note["clips"] for note in notes.values())
    scenes = _count(len({shard.scene for shard in notes}), "scene")
    print(f"{_count(clips, 'clip')} of {scenes} in {config.out / config.split}.")
    for reason, count in sorted(Counter(left_out.values()).items()):
        names = ", ".join(scene for scene, why in left_out.items() if why == reason)
        print(f"Left out {_count(count, 'scene')} ({reason}): {names}.")
    skipped = [f"{shard.scene}/{name}: {why}" for shard in notes for name, why in notes[shard]["skipped"].items()]
    if skipped:
        print(f"Skipped {_count(len(skipped), 'sequence')}:")
        print("\n".join(f"  {line}" for line in skipped[:_MOST_NAMED]))
    if len(skipped) > _MOST_NAMED:
        print(f"  … and {len(skipped) - _MOST_NAMED} more, in {config.out / NOTES / config.split}.")
    return clips


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# ---------------------------------------------------------------- the Hub


def check_private(name: str) -> Any:
    """The Hub's interface, once the dataset repository `name` is there (made if need be) and private.

    Raises InputError for a public one, since BEDLAM's licence forbids passing it on, and where the Hub refuses.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    with _hub_errors(name):
        api.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        private = api.repo_info(name, repo_type="dataset").private
    if not private:
        raise InputError(
            f"--push-to-hub {name} should be private, since BEDLAM may not be passed on, but it is public; "
            "make it private in its settings, or choose another name."
        )
    return api


def push(folder: Path, name: str) -> None:
    """Uploads the finished folder to a private dataset repository; what is there already is not sent again."""
    api = check_private(name)
    with _hub_errors(name):
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, ignore_patterns=[f"{NOTES}/**"])
    print(f"Uploaded to the private data set {name}.")


@contextlib.contextmanager
def _hub_errors(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # among them those of the HTTP library, which differs between versions of the client
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"--push-to-hub {name} should be a dataset repository that you can write to, but the Hub answered "
            f"{reason!r}; log in with `hf auth login`."
        ) from error


def main(arguments: list[str]) -> None:
    """Runs the command line; bad input is one sentence and exit code 2."""
    with command_line_errors():
        prepare(tyro.cli(BedlamConfig, args=arguments, prog="python -m train.data.prepare.bedlam"))


if __name__ == "__main__":
    main(sys.argv[1:])
