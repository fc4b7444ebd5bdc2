"""Times the parts of `unish run` on the bundled clip with the mini weights, from the command to the written page.

    python benchmarks/run_profile.py

The command runs in this process; what it calls is timed where it is called. A part's time leaves out that of the parts
below it in the table.
"""

import contextlib
import functools
import importlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from unish.utils.assets import SAMPLE_CLIP

PARTS = (
    ("decode the clip", "unish.pipeline.reconstruction", "read_clip"),
    ("load weights", "unish.pipeline.reconstruction", "load"),
    ("load the body", "unish.pipeline.reconstruction", "load_body"),
    ("detect people", "unish.pipeline.reconstruction", "detect_people"),
    ("window: the rest", "unish.pipeline.run_windows", "run_window"),
    ("window: resize frames, cut crops", "unish.pipeline.window_inputs", "_prepare_window"),
    ("window: scene network", "unish.models.unish.UniSH", "scene"),
    ("window: people network", "unish.models.unish.UniSH", "people"),
    ("window: focal lengths", "unish.pipeline.inference", "frame_focals"),
    ("align windows", "unish.pipeline.reconstruction", "_align"),
    ("fuse: gravity, poses, maps", "unish.pipeline.reconstruction", "fuse"),
    ("fit report", "unish.analysis.fit_report", "fit_report"),
    ("write the result: the rest", "unish.runs.result_folder", "write_result"),
    ("write: choose points, pack", "unish.viewer.page", "scene_arrays"),
)


@dataclass
class Clock:
    """Adds up time by part, each without what it calls in other parts."""

    seconds: dict[str, float] = field(default_factory=dict)
    running: list[list[float]] = field(default_factory=list)

    def timed(self, name: str, function: Callable) -> Callable:
        """The function, its time added to the part's."""

        @functools.wraps(function)
        def call(*arguments, **options):
            self.running.append([time.perf_counter(), 0.0])
            try:
                return function(*arguments, **options)
            finally:
                began, inside = self.running.pop()
                whole = time.perf_counter() - began
                self.seconds[name] = self.seconds.get(name, 0.0) + whole - inside
                if self.running:
                    self.running[-1][1] += whole

        return call


@dataclass(frozen=True)
class ProfileConfig:
    """What is run."""

    clip: Path = SAMPLE_CLIP
    weights: str = "mini"
    repeats: int = 3
    """Runs, of which the fastest counts; the first one imports."""


def main(config: ProfileConfig) -> None:
    """Print the table as Markdown."""
    began = time.perf_counter()
    places = [(name, *_place(module), attribute) for name, module, attribute in PARTS]
    imports = time.perf_counter() - began
    from benchmarks.forward import hardware
    from unish.cli import main as unish

    clock = Clock()
    for name, owner, attribute in places:
        setattr(owner, attribute, clock.timed(name, getattr(owner, attribute)))
    runs = []
    for _ in range(config.repeats):
        clock.seconds = {}
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            words = ["run", str(config.clip), "--out", f"{folder}/out", "--weights", config.weights]
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                unish(words)
            runs.append((time.perf_counter() - start, clock.seconds))
    total, parts = min(runs, key=lambda run: run[0])
    parts = {"import": imports, **parts, "all else": total - sum(parts.values())}
    total += imports
    print(f"{hardware('cpu')}; in all {total:.1f} s\n")
    print("| part | s | share |\n|---|---|---|")
    for name, seconds in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"| {name} | {seconds:.2f} | {seconds / total:.0%} |")


def _place(path: str) -> tuple[object]:
    """The module, or the class in one, of that name."""
    try:
        return (importlib.import_module(path),)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return (getattr(importlib.import_module(module), name),)


if __name__ == "__main__":
    main(tyro.cli(ProfileConfig, description=__doc__))
