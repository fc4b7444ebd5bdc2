"""Pages of the site that lie outside docs/: hooks that MkDocs calls (mkdocs.yml)."""

import posixpath
import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "README.md": "start.md",
    "train/README.md": "training_in_detail.md",
    "LICENSE": "LICENSE",
    **{f"notebooks/{path.name}": f"notebooks/{path.name}" for path in sorted(_ROOT.glob("notebooks/*.ipynb"))},
}
"""Path from the repository's root → name in the site."""
_LINK = re.compile(r"\]\((?P<path>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the files from outside."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    for path, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links that are right in the repository become right in the site."""
    name = page.file.src_uri
    source = next((path for path, moved in OUTSIDE.items() if moved == name), f"docs/{name}")
    return _LINK.sub(lambda link: f"]({_moved(link['path'], source, name)}{link['anchor'] or ''})", markdown)


def _moved(path: str, source: str, name: str) -> str:
    """The target of a link, from the page that is `source` in the repository and `name` in the site."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    moved = OUTSIDE.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
    return path if moved is None else posixpath.relpath(moved, posixpath.dirname(name) or ".")
