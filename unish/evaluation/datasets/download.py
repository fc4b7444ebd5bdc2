"""Where a dataset comes from and how its folder looks: the message for a user whose folder looks different."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unish.errors import InputError, MissingAssetError


@dataclass(frozen=True)
class Download:
    """A dataset's official page, and the layout of its folder after unpacking."""

    title: str
    page: str
    layout: str
    """Where the files are, starting from ROOT."""

    def missing(self, what: str) -> MissingAssetError:
        """`what` is the first half of the sentence: what is missing where."""
        return MissingAssetError(f"{what}; download {self.title} from {self.page} so that there is {self.layout}.")

    def broken(self, what: str) -> InputError:
        """`what` is the first half of the sentence: which file is wrong, and how."""
        return InputError(f"{what}; download {self.title} again from {self.page}.")

    def root(self, root: Path) -> Path:
        """The root itself. Raises MissingAssetError when it is not a folder."""
        if not root.is_dir():
            raise self.missing(f"{root} is not a folder")
        return root

    def file(self, path: Path) -> Path:
        """The file itself. Raises MissingAssetError when it is not there."""
        if not path.is_file():
            raise self.missing(f"{path} is missing")
        return path

    def sequences(self, root: Path, folders: dict[str, Path]) -> None:
        """Raises MissingAssetError, naming them, when sequences (name → folder or file) are missing."""
        absent = [name for name, folder in folders.items() if not folder.exists()]
        if len(absent) == len(folders):
            raise self.missing(f"{root} has none of the {len(folders)} sequences ({absent[0]} and so on)")
        if absent:
            raise self.missing(f"{root} lacks {len(absent)} of {len(folders)} sequences: {', '.join(absent)}")

    def count(self, root: Path, present: int, expected: int, whose: str) -> None:
        """Raises MissingAssetError when there are fewer sequences than the benchmark has."""
        if present < expected:
            raise self.missing(f"{root} has {present} of the {expected} sequences of {whose}")

    def files(self, folder: Path, names: Iterable[str]) -> tuple[Path, ...]:
        """The files of a folder, by name. Raises MissingAssetError, naming the first, for those that are missing."""
        if not folder.is_dir():
            raise self.missing(f"{folder} is not a folder")
        names = tuple(names)
        there = {entry.name for entry in folder.iterdir()}
        absent = [name for name in names if name not in there]
        if absent:
            raise self.missing(f"{folder / absent[0]} is missing ({len(absent)} of {len(names)} files are)")
        return tuple(folder / name for name in names)
