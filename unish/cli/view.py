"""`unish view`: a result opens in the browser."""

import argparse
from pathlib import Path

from unish.runs.result_folder import RESULT_PAGE


def add(commands) -> None:
    """Describe `unish view`."""
    view = commands.add_parser("view", help="open a result in the browser")
    view.add_argument("folder", type=Path, help="what was given to unish run --out")
    view.add_argument("--no-browser", action="store_true", help="only write the page and print where it is")
    view.set_defaults(command=_view)


def _view(options: argparse.Namespace) -> int:
    page = options.folder / RESULT_PAGE
    if not page.is_file():
        from unish.structures import Reconstruction
        from unish.viewer import write_html

        write_html(Reconstruction.load(options.folder), page)
    print(page)
    if not options.no_browser:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return 0
