"""What the benchmarks on real footage share: which clips and people are judged, and how scores are written."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro

from train.cli import command_line_errors
from unish.errors import InputError
from unish.utils.atomic_write import atomic_path
from unish.video.suffixes import VIDEO_SUFFIXES, has_suffix

LEAST_HEIGHT = 0.14
"""People lower than this share of the frame are not judged."""


def clips_of(source: Path, only: tuple[str, ...]) -> list[Path]:
    """A video, or those of a folder, with `only` those of these names (without ending). `InputError` for none."""
    paths = [source] if source.is_file() else sorted(source.glob("*"))
    paths = [path for path in paths if has_suffix(path, VIDEO_SUFFIXES) and (not only or path.stem in only)]
    if not paths:
        raise InputError(f"Expected videos in {source}, found none; check the folder and --only.")
    return paths


def score_command(config_type: type, run: Callable[[Any], dict[str, Any]], table: Callable[[Any], str]) -> None:
    """The command line of a benchmark: its table is printed, and its scores are JSON where `--out` names a file."""
    with command_line_errors():
        config = tyro.cli(config_type)
        scores = run(config)
        print(table(scores))
        if config.out is not None:
            with atomic_path(config.out) as temporary:
                rows = {name: asdict(score) for name, score in scores.items()}
                temporary.write_text(json.dumps(rows, indent=2) + "\n")
