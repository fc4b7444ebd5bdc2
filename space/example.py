"""A finished result that opens at once: the bundled clip, made when the demo starts, without a GPU."""

import logging
import tempfile
import threading
from pathlib import Path

import unish
from space.results import Result, ResultFolders, write_archive, write_overlay, write_page, write_scene
from unish.analysis.fit_report import fit_report
from unish.utils.assets import SAMPLE_CLIP


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
                scene = unish.reconstruct(SAMPLE_CLIP, weights="mini", finder="mini", device="cpu", body="open")
                folders = ResultFolders.beside(Path(self._folder.name) / "results")
                result = write_scene(folders, scene, fit_report(scene), SAMPLE_CLIP)
                for write in (write_page, write_overlay, write_archive):
                    write(result)
                logging.getLogger("unish").info("The example is ready.")
                self._result = result
        return self._result
