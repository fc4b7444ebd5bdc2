"""Finished results that open at once: those that come with the demo, and a deployer's own.

Each is a folder with a clip and its result: `reconstruction.*`, as `unish run` writes them, or `result.npz` (see
`space.packed_result`). A folder's name is the example's; a number in front of it, as in `2_a_walk`, says where it
stands and is not shown. A title that needs more than a folder's name can hold stands in `title.txt` beside the clip.
"""

import contextlib
import logging
import re
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from space.packed_result import PACKED_FILE, unpack_result
from space.results import Result, ResultFolders, write_scene
from unish.analysis.fit_report import fit_report
from unish.errors import InputError, UniSHError
from unish.structures import Reconstruction
from unish.utils.result_files import HEADER_FILE
from unish.video.source import open_source
from unish.video.suffixes import VIDEO_SUFFIXES, has_suffix

BUNDLED = Path(__file__).parent / "examples"
TITLE_FILE = "title.txt"
POSTER_LONG_SIDE_PX = 640
log = logging.getLogger("unish")


@dataclass(frozen=True)
class Example:
    """A clip with its finished result, as the deployer laid it down."""

    folder: Path
    clip: Path

    @property
    def name(self) -> str:
        """What stands in links."""
        return re.sub(r"^\d+[_ -]+", "", self.folder.name)

    @property
    def title(self) -> str:
        """What visitors read."""
        with contextlib.suppress(FileNotFoundError):
            if written := (self.folder / TITLE_FILE).read_text("utf-8", errors="replace").strip():
                return written
        words = self.name.replace("_", " ").strip()
        return words[:1].upper() + words[1:]

    @staticmethod
    def found_in(folder: Path) -> "list[Example]":
        """Those in the folders of a folder, in their order. Raises `InputError` when there is no such folder, or an
        example in it lacks its clip or its result."""
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}. Make it, with a folder for each example in it.")
        examples = []
        folders = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        for each in sorted(folders, key=_place):
            clips = [file for file in sorted(each.iterdir()) if has_suffix(file, VIDEO_SUFFIXES)]
            if len(clips) != 1 or not any((each / file).is_file() for file in (PACKED_FILE, HEADER_FILE)):
                raise InputError(
                    f"Expected the example {each} to hold one video and the result that `unish run VIDEO --out {each}` "
                    "writes."
                )
            examples.append(Example(each, clips[0]))
        return examples

    def load(self, work: Path) -> Reconstruction:
        """Its result; `work` takes files that this needs. Raises as `Reconstruction.load` and `unpack_result` do."""
        if (self.folder / HEADER_FILE).is_file():
            return Reconstruction.load(self.folder)
        return unpack_result(self.folder / PACKED_FILE, work)


class Examples:
    """Examples made ready for the page, one after the other; they live as long as the demo does."""

    def __init__(self, examples: list[Example]) -> None:
        self.examples = {example.name: example for example in examples}
        self._work = tempfile.TemporaryDirectory(prefix="unish-examples-")
        self._ready: dict[str, Result] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to make them ready, in the background."""
        threading.Thread(target=self._make_all, daemon=True).start()

    def result(self, name: object = None) -> Result | None:
        """The example of that name, without one the first; None where there is none. Who asks early waits."""
        chosen = next(iter(self.examples), None) if name is None else name
        return self._make(chosen) if isinstance(chosen, str) and chosen in self.examples else None

    def name_of(self, result: Result) -> str | None:
        """Which example a result is of, if it is one's."""
        return next((name for name, ready in self._ready.items() if ready.name == result.name), None)

    def poster(self, name: str) -> Path:
        """The first frame of the clip, with which its scene opens, as a JPEG."""
        path = Path(self._work.name) / name / "poster.jpg"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_poster(self.examples[name].clip, path)
        return path

    def _make_all(self) -> None:
        for name in self.examples:
            try:
                self._make(name)
            except UniSHError as error:
                log.warning("The example %s cannot be shown: %s", name, error)
        log.info("The examples are ready.")

    def _make(self, name: str) -> Result:
        with self._lock:
            if name not in self._ready:
                folders = ResultFolders.beside(Path(self._work.name) / name / "served")
                scene = self.examples[name].load(Path(self._work.name) / name / "unpacked")
                self._ready[name] = write_scene(folders, scene, fit_report(scene), self.examples[name].clip)
        return self._ready[name]


def _place(folder: Path) -> tuple[float, str]:
    number = re.match(r"\d+", folder.name)
    return float(number[0]) if number else float("inf"), folder.name


def _write_poster(clip: Path, path: Path) -> None:
    source = open_source(clip)
    first = next(iter(source.frames([0], POSTER_LONG_SIDE_PX, [])))
    cv2.imwrite(str(path), np.ascontiguousarray(first.rgb[..., ::-1]))
