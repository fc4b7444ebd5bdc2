"""Results that live for a while under a name that nobody can guess: a reload or a shared link finds them again.

The scene comes first, within seconds; overlay, page, archive and exports are written when they are asked for, from
what is kept: the reconstruction, and the upload under a second name. These two are nobody's to fetch, so they lie in a
folder that is not served.
"""

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from unish.analysis.fit_report import FitReport
from unish.analysis.summary import summarise
from unish.errors import InputError
from unish.export import write_video
from unish.runs.result_folder import RESULT_REPORT
from unish.structures import FrameSequence, Reconstruction
from unish.utils.atomic_write import atomic_path
from unish.utils.progress import Progress, no_progress
from unish.video.source_frames import SourceFrames
from unish.viewer import SceneArrays, encode_scene, scene_arrays
from unish.viewer.fitted import with_change
from unish.viewer.numbers import numbers_html
from unish.viewer.page import offline_page

_NAME = re.compile(r"[A-Za-z0-9_-]{22}")
_PREFIX = "unish-"
OVERLAY_LONG_SIDE_PX, OVERLAY_FRAMES = 960, 600
"""The overlay of the page is no larger and has no more frames, so that a clip of minutes is drawn in seconds."""
EXPIRED = "This result has expired (results are kept for an hour). Please run the video again."


@dataclass(frozen=True)
class ResultFolders:
    """Where results live."""

    served: Path
    """Gradio's cache: who knows the name of a file in it may fetch it."""
    private: Path

    @staticmethod
    def beside(served: Path) -> "ResultFolders":
        """`served`, and a private folder beside it; both exist afterwards."""
        private = served.with_name(f"{served.name}-private")
        served.mkdir(parents=True, exist_ok=True)
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ResultFolders(served, private)


@dataclass(frozen=True)
class EarlyScene:
    """A scene that is shown while its bodies are fitted. It has no other files, and no link opens it."""

    name: str
    folders: ResultFolders

    @property
    def scene(self) -> Path:
        """What the viewer draws."""
        return self.folders.served / (_PREFIX + self.name) / "early.bin"


@dataclass(frozen=True)
class Result:
    """The files of one reconstruction; those that do not exist yet are written by the functions below and
    in `space.downloads`."""

    name: str
    """22 letters of chance: who knows it may see the result."""
    stem: str
    """The clip's name, for the files' names."""
    folders: ResultFolders
    early_name: str = ""
    """Of the `EarlyScene` that it follows, where `change` says what is different."""

    @property
    def folder(self) -> Path:
        """What is served of it."""
        return self.folders.served / (_PREFIX + self.name)

    @property
    def kept(self) -> Path:
        """What is not."""
        return self.folders.private / (_PREFIX + self.name)

    @property
    def scene(self) -> Path:
        """What the viewer draws."""
        return self.folder / "scene.bin"

    @property
    def change(self) -> Path:
        """What the viewer draws differently, where it shows the early scene."""
        return self.folder / "change.bin"

    @property
    def page(self) -> Path:
        """The viewer as one file that opens offline."""
        return self.folder / f"{self.stem}_viewer.html"

    @property
    def overlay(self) -> Path:
        """The clip with the bodies drawn over it."""
        return self.folder / f"{self.stem}_overlay.mp4"

    @property
    def archive(self) -> Path:
        """The reconstruction and its report, zipped."""
        return self.folder / f"{self.stem}_unish.zip"

    @property
    def numbers(self) -> str:
        """Numbers and report as HTML, every text escaped."""
        return json.loads((self.folder / "about.json").read_text(encoding="utf-8"))["numbers"]

    @property
    def finished(self) -> bool:
        """Whether all files of the page are there."""
        return all(path.is_file() for path in (self.page, self.overlay, self.archive))

    def load(self) -> Reconstruction:
        """The reconstruction. Raises `InputError` when the result has expired."""
        if not self.kept.is_dir():
            raise InputError(EXPIRED)
        return Reconstruction.load(self.kept / "reconstruction")

    def source_frames(self, scene: Reconstruction) -> SourceFrames:
        """The upload's own frames, from the first to the last that the result was made from."""
        (source,) = self.kept.glob("source*")
        return SourceFrames.open(source, scene.times_s, scene.fps)


def write_early_scene(folders: ResultFolders, drawn: SceneArrays) -> EarlyScene:
    """Write what the viewer draws before the bodies are fitted. Raises `InputError` when there is no room."""
    early = EarlyScene(secrets.token_urlsafe(16), folders)
    with atomic_path(early.scene.parent) as folder:
        folder.mkdir()
        (folder / early.scene.name).write_bytes(encode_scene(drawn))
    return early


def write_scene(
    folders: ResultFolders,
    scene: Reconstruction,
    fit: FitReport,
    upload: Path,
    drawn: SceneArrays | None = None,
    change: SceneArrays | None = None,
    early: EarlyScene | None = None,
) -> Result:
    """Write what the viewer needs, and keep what the other files are made of: reconstruction, report and `upload`.

    `drawn`: what the viewer draws, where that has been made already, and `change` to it where bodies were fitted since.
    `early`: the scene without that change, where the viewer shows it. Raises `InputError` when there is no room.
    """
    drawn = scene_arrays(scene, source=upload) if drawn is None else drawn
    stem = file_stem(scene.provenance.source_name)
    result = Result(secrets.token_urlsafe(16), stem, folders, early.name if early and change else "")
    about = {"stem": result.stem, "numbers": numbers_html(summarise(scene), fit)}
    with atomic_path(result.kept) as kept, atomic_path(result.folder) as folder:
        folder.mkdir()
        (folder / result.scene.name).write_bytes(encode_scene(with_change(drawn, change) if change else drawn))
        if change and early:
            (folder / result.change.name).write_bytes(encode_scene(change))
        (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
        scene.save_into(kept / "reconstruction")
        fit.save(kept / "reconstruction" / RESULT_REPORT)
        _link_or_copy(upload, kept / f"source{upload.suffix}")
    return result


def write_overlay(result: Result, progress: Progress = no_progress) -> Path:
    """The clip with the bodies drawn over it. Raises `InputError` when the result has expired or there is no room."""
    if not result.overlay.is_file():
        _write_video(result, result.overlay, result.load(), progress, "Drawing the overlay video")
    return result.overlay


def write_original(result: Result, progress: Progress = no_progress) -> Path:
    """The part of the clip that was used, as large as the overlay and in time with it; what a phone writes into a file
    beside its frames, such as where it was, is not in it. Raises as `write_overlay` does."""
    path = result.overlay.with_name(f"{result.stem}_video.mp4")
    if not path.is_file():
        _write_video(result, path, dataclasses.replace(result.load(), people=()), progress, "Preparing the video")
    return path


def write_page(result: Result) -> Path:
    """The viewer as one file. Raises `InputError` when the result has expired or there is no room."""
    if not result.page.is_file():
        with still_there(result), atomic_path(result.page) as temporary:
            temporary.write_text(offline_page(result.scene.read_bytes(), result.stem), encoding="utf-8")
    return result.page


def find_result(folders: ResultFolders, name: object) -> Result | None:
    """The result of that name, if it is one and its files still live."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return None
    about = folders.served / (_PREFIX + name) / "about.json"
    try:
        stem = json.loads(about.read_text(encoding="utf-8"))["stem"]
    except (OSError, ValueError):
        return None
    result = Result(name, stem, folders)
    return result if result.scene.is_file() and result.kept.is_dir() else None


def file_stem(source_name: str) -> str:
    """A clip's name without its suffix, as the start of a file's name on any system."""
    return re.sub(r"[^\w-]+", "_", Path(source_name).stem).strip("_")[:60] or "video"


def _write_video(result: Result, path: Path, scene: Reconstruction, progress: Progress, message: str) -> None:
    frames = _Thinned.of(result.source_frames(scene), OVERLAY_FRAMES)
    with still_there(result):
        write_video(
            scene,
            path,
            frames,
            long_side_px=OVERLAY_LONG_SIDE_PX,
            progress=lambda share: progress(share, message),
        )


@dataclass(frozen=True)
class _Thinned:
    """Some frames of a sequence, evenly spread, the first and the last among them."""

    whole: FrameSequence
    indices: tuple[int, ...]

    @staticmethod
    def of(whole: FrameSequence, most: int) -> "_Thinned":
        count = len(whole.times_s)
        return _Thinned(
            whole, tuple(np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist())
        )

    @property
    def times_s(self) -> Float[np.ndarray, "frames"]:
        return self.whole.times_s[list(self.indices)]

    @property
    def fps(self) -> float:
        return self.whole.fps * len(self.indices) / len(self.whole.times_s)

    @property
    def source_name(self) -> str:
        return self.whole.source_name

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.whole.frame_size

    def read(self, indices: Sequence[int]) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        return self.whole.read([self.indices[index] for index in indices])


@contextlib.contextmanager
def still_there(result: Result) -> Iterator[None]:
    """Raises `InputError` for a result that has been swept away, before or meanwhile."""
    if not (result.folder.is_dir() and result.kept.is_dir()):
        raise InputError(EXPIRED)
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(EXPIRED) from error


def _link_or_copy(file: Path, name: Path) -> None:
    """The file under a second name, which lives on when the first is swept away."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
