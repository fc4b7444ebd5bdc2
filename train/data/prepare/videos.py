"""Where videos come from: one file, a folder, the video files of a Hub data set, or its column of videos."""

import contextlib
import functools
import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from unish.errors import InputError, MissingAssetError
from unish.runs.identity import file_digest
from unish.video.suffixes import VIDEO_SUFFIXES, has_suffix

_REPOSITORY = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")


@dataclass(frozen=True)
class Video:
    """One video that may have to be fetched first."""

    place: str
    """Where it is within its source; the same on every machine."""
    opened: Callable[[], contextlib.AbstractContextManager[Path]]
    """Gives the file for as long as it is read."""
    content: Callable[[], str]
    """Digits that stand for its content: a video that was replaced under its name is another one. Nothing is fetched.
    Raises `InputError` when the file cannot be read."""

    @property
    def name(self) -> str:
        """A file name of its own, made from `place` alone."""
        digest = hashlib.sha256(self.place.encode()).hexdigest()[:10]
        stem = re.sub(r"[^A-Za-z0-9]+", "-", PurePosixPath(self.place).stem).strip("-")[:40]
        return f"{stem}-{digest}" if stem else digest


def list_videos(source: str) -> list[Video]:
    """The videos of a file, a folder (searched to any depth), or a Hub data set (`owner/name`), in a fixed order.

    Raises:
        InputError: there is no such thing, or no video in it.
        MissingAssetError: the Hub data set cannot be reached.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [Video(path.name, lambda: contextlib.nullcontext(path), lambda: file_digest(path))]
    if path.is_dir():
        videos = _in_folder(path)
    elif _REPOSITORY.fullmatch(source):
        videos = _on_hub(source)
    else:
        raise InputError(
            f"Expected a folder of videos or a Hub data set like owner/name, but {source} is neither; check --videos."
        )
    if not videos:
        raise InputError(f"Expected videos ({', '.join(VIDEO_SUFFIXES)}) in {source}, found none; check --videos.")
    return videos


def share_of(videos: list[Video], share: tuple[int, int]) -> list[Video]:
    """Every n-th video, starting at the i-th: (i, n) with 0 ≤ i < n."""
    return videos[share[0] :: share[1]]


def _in_folder(folder: Path) -> list[Video]:
    places = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if has_suffix(path, VIDEO_SUFFIXES)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )

    def at(place: str) -> Callable[[], contextlib.AbstractContextManager[Path]]:
        return lambda: contextlib.nullcontext(folder / place)

    return [Video(place, at(place), functools.partial(file_digest, folder / place)) for place in places]


def _on_hub(repository: str) -> list[Video]:
    """Video files are fetched one by one when their turn comes; a column of videos is fetched at once."""
    import huggingface_hub

    try:
        files = huggingface_hub.HfApi().dataset_info(repository, files_metadata=True).siblings or []
    except (OSError, ValueError, RuntimeError) as error:
        raise _out_of_reach(repository, error) from error
    videos = sorted((file for file in files if has_suffix(file.rfilename, VIDEO_SUFFIXES)), key=lambda f: f.rfilename)
    if not videos:
        return _in_column(repository)

    def at(place: str) -> Callable[[], contextlib.AbstractContextManager[Path]]:
        @contextlib.contextmanager
        def fetched() -> Iterator[Path]:
            try:
                path = huggingface_hub.hf_hub_download(repository, place, repo_type="dataset")
            except (OSError, ValueError, RuntimeError) as error:
                raise _out_of_reach(repository, error) from error
            yield Path(path)

        return fetched

    def content(file: Any) -> Callable[[], str]:
        return lambda: file.lfs.sha256 if file.lfs else str(file.blob_id)

    return [Video(file.rfilename, at(file.rfilename), content(file)) for file in videos]


def _in_column(repository: str) -> list[Video]:
    """Rows of the first column that holds videos, over all splits."""
    import datasets

    try:
        splits = datasets.load_dataset(repository)
    except (OSError, ValueError, RuntimeError) as error:
        raise _out_of_reach(repository, error) from error
    videos: list[Video] = []
    for split, rows in splits.items():
        column = next((key for key, kind in rows.features.items() if isinstance(kind, datasets.Video)), None)
        if column is not None:
            rows = rows.cast_column(column, datasets.Video(decode=False))
            videos += [
                Video(f"{split}/{index:08d}", _row_video(rows, index, column), _row_content(rows, index, column))
                for index in range(len(rows))
            ]
    return videos


def _row_video(rows: Any, index: int, column: str) -> Callable[[], contextlib.AbstractContextManager[Path]]:
    @contextlib.contextmanager
    def written() -> Iterator[Path]:
        item = rows[index][column]
        if item["bytes"] is None:
            yield Path(item["path"])
            return
        with tempfile.TemporaryDirectory(prefix="unish-") as folder:
            path = Path(folder) / f"video{PurePosixPath(item['path'] or 'video.mp4').suffix}"
            path.write_bytes(item["bytes"])
            yield path

    return written


def _row_content(rows: Any, index: int, column: str) -> Callable[[], str]:
    def content() -> str:
        item = rows[index][column]
        return file_digest(item["path"]) if item["bytes"] is None else hashlib.sha256(item["bytes"]).hexdigest()

    return content


def _out_of_reach(repository: str, error: Exception) -> MissingAssetError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return MissingAssetError(
        f"Could not read the data set {repository} on the Hugging Face Hub: {reason}. Check the name, the connection, "
        "and whether its terms must be accepted first."
    )
