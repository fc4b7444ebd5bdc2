"""`unish run` with a real signal at each stage, in a process of its own: prints (exit code, frames saved) by stage.

python -m tests.helpers.stopped_runs SIGTERM FOLDER [STAGE …]
"""

import functools
import importlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from unittest import mock

from unish.cli import main
from unish.structures import Reconstruction
from unish.utils.assets import SAMPLE_CLIP

STAGES = {
    "reading": ("unish.pipeline.reconstruction", "read_clip", 1),
    "detecting": ("unish.pipeline.reconstruction", "detect_people", 1),
    "camera motion": ("unish.pipeline.reconstruction", "map_scene", 1),
    "first window": ("unish.pipeline.run_windows", "run_window", 1),
    "second window": ("unish.pipeline.run_windows", "run_window", 2),
    "loop closure": ("unish.pipeline.reconstruction", "find_revisits", 1),
    "alignment": ("unish.pipeline.reconstruction", "_align", 2),
    "fusing": ("unish.pipeline.reconstruction", "fuse", 1),
    "report": ("unish.analysis.fit_report", "fit_report", 1),
    "saving": ("unish.cli.run", "write_result", 1),
}
"""Stage → module and name of what runs in it, and at which of its calls the signal comes."""


def stop_at(stage: str, number: signal.Signals, folder: Path) -> tuple[int, int | None]:
    """Exit code, and how many frames are saved; None: there is no result."""
    place, name, call = STAGES[stage]
    module = importlib.import_module(place)
    function, calls = getattr(module, name), 0

    @functools.wraps(function)
    def signalled(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls >= call:  # impatient users press it again and again
            os.kill(os.getpid(), number)
        return function(*arguments, **options)

    out = folder / stage.replace(" ", "-")
    # With a map there are no loops to close.
    sfm = "auto" if stage == "camera motion" else "off"
    words = f"run {SAMPLE_CLIP} --out {out} --sfm {sfm} --end 2 --window 6 --weights mini --finder mini --body open"
    words += " --device cpu"
    with mock.patch.object(module, name, signalled):
        code = main(words.split())
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert not left, left
    return code, len(Reconstruction.load(out)) if out.exists() else None


def stop_batch(number: signal.Signals, folder: Path) -> list[tuple[int, int]]:
    """(exit code, frames saved) of a batch that is stopped in its second window, and of the same command again."""
    from unish.pipeline import run_windows

    (folder / "clips").mkdir()
    shutil.copy(SAMPLE_CLIP, folder / "clips" / "a.mp4")
    words = f"batch {folder / 'clips'} --out {folder / 'out'} --end 2 --window 6 --weights mini --finder mini"
    words = [*words.split(), "--body", "open", "--device", "cpu"]
    original, calls = run_windows.run_window, []

    def signalled(*arguments, **options):
        calls.append(None)
        if len(calls) == 2:
            os.kill(os.getpid(), number)
        return original(*arguments, **options)

    outcomes = []
    with mock.patch.object(run_windows, "run_window", signalled):
        for _ in range(2):
            code = main(words)
            outcomes.append((code, len(Reconstruction.load(folder / "out" / "a"))))
    return outcomes


if __name__ == "__main__":
    # Whoever started this in the background may have it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted, target = signal.Signals[sys.argv[1]], Path(sys.argv[2])
    stages = sys.argv[3:] or list(STAGES)
    if stages == ["batch"]:
        print(json.dumps(stop_batch(wanted, target)))
    else:
        print(json.dumps({stage: stop_at(stage, wanted, target) for stage in stages}))
