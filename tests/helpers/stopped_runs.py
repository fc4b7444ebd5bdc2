"""`unish run` with a real signal at each stage, in a process of its own: prints (exit code, frames saved) by stage.

python -m tests.helpers.stopped_runs SIGTERM FOLDER
"""

import functools
import importlib
import json
import os
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
    words = f"run {SAMPLE_CLIP} --out {out} --end 2 --window 6 --weights mini --finder mini --body open --device cpu"
    with mock.patch.object(module, name, signalled):
        code = main(words.split())
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert not left, left
    return code, len(Reconstruction.load(out)) if out.exists() else None


if __name__ == "__main__":
    # Whoever started this in the background may have it ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    wanted, target = signal.Signals[sys.argv[1]], Path(sys.argv[2])
    stages = sys.argv[3:] or STAGES
    print(json.dumps({stage: stop_at(stage, wanted, target) for stage in stages}))
