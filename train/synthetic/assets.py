"""What a world may be made of beside what is procedural: folders of motion, garments and photographs, none of them ours
to ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from train.synthetic.backdrops import BackdropLibrary
from train.synthetic.garments import GarmentLibrary
from train.synthetic.motion_library import MotionLibrary
from unish.body import BodyModel
from unish.errors import InputError


@dataclass(frozen=True)
class Assets:
    """Captured motion, garments and backdrops; None where clips do without."""

    motions: MotionLibrary | None = None
    garments: GarmentLibrary | None = None
    backdrops: BackdropLibrary | None = None


NO_ASSETS = Assets()


def load_assets(motions: Path | None, wardrobe: Path | None, backdrops: Path | None, body: BodyModel) -> Assets:
    """The assets of folders. Garments take ten seconds or so.

    Raises:
        InputError: a folder is not there, or holds nothing of its kind.
    """
    check_folders(motions, wardrobe, backdrops)
    return Assets(
        motions=MotionLibrary.of(motions, body) if motions else None,
        garments=GarmentLibrary.of(wardrobe, body) if wardrobe else None,
        backdrops=BackdropLibrary.of(backdrops) if backdrops else None,
    )


def check_folders(motions: Path | None, wardrobe: Path | None, backdrops: Path | None) -> None:
    """Raises InputError, naming the flag, for a folder that is not there."""
    for flag, folder in (("--motions", motions), ("--wardrobe", wardrobe), ("--backdrops", backdrops)):
        if folder is not None and not folder.is_dir():
            raise InputError(f"{flag} should be a folder, got {folder}.")
