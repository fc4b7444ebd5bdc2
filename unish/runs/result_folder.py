"""The folder of a result: the reconstruction, how well it fits, and a page to look at it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from unish.utils.atomic_write import atomic_path

if TYPE_CHECKING:
    from unish.analysis.fit_report import FitReport
    from unish.structures import Reconstruction

RESULT_PAGE = "viewer.html"
RESULT_REPORT = "report.json"
RESULT_EXPORTS = "exports"


def write_result(
    scene: "Reconstruction", fit: "FitReport", folder: Path, title: str, extra: Mapping[str, str] | None = None
) -> None:
    """Write the whole result under its final name, or nothing. `extra`: texts by file name, to be put beside it.

    Raises `InputError` when it cannot be written.
    """
    from unish.viewer import write_html

    with atomic_path(folder) as temporary:
        scene.save_into(temporary)
        fit.save(temporary / RESULT_REPORT)
        write_html(scene, temporary / RESULT_PAGE, title=title)
        for name, text in (extra or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
