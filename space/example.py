"""A finished result that opens at once: the bundled clip, made when the demo starts, without a GPU."""

import logging
import tempfile
import threading
from pathlib import Path

import unish
from space.results import Result, write_result
from unish.analysis.fit_report import fit_report
from unish.utils.assets import SAMPLE_CLIP
from unish.video.reader import read_clip


class Example:
    """Makes the result in the background and hands it out; it lives as long as the demo does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="unish-example-")
        self._result: Result | None = None

    def start(self) -> None:
        """Begin to make it."""
        threading.Thread(target=self.result, daemon=True).start()

    def result(self) -> Result:
        """The result; who asks before it is ready waits."""
        with self._lock:
            if self._result is None:
                clip = read_clip(SAMPLE_CLIP)
                scene = unish.reconstruct(clip, weights="mini", finder="mini", device="cpu", body="open")
                logging.getLogger("unish").info("The example is ready.")
                self._result = write_result(Path(self._folder.name), scene, fit_report(scene), clip)
        return self._result
