"""The documentation as text: its pages, their links, their blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(\s*(?P<target>[^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#{1,6} +(?P<text>.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    code: str

    @property
    def path(self) -> str:
        """The file that it names in its first line, "# unish/video/warm.py"; else nothing."""
        found = re.match(r"# ([\w/]+\.py)\n", self.code)
        return found[1] if found else ""


def pages(repository: Path) -> list[Path]:
    """Every page of documentation."""
    return [repository / "README.md", repository / "train" / "README.md", *sorted((repository / "docs").rglob("*.md"))]


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in order, their indentation taken away."""
    found = []
    for fence in _FENCE.finditer(page.read_text(encoding="utf-8")):
        code = re.sub(f"^{fence['indent']}", "", fence["code"], flags=re.MULTILINE)
        found.append(Block(fence["language"], code))
    return [block for block in found if language is None or block.language == language]


def command_lines(page: Path, start: str = "") -> list[str]:
    """The lines of a page's shell blocks that start so."""
    lines = [line for block in blocks(page, "") for line in block.code.splitlines() if line.strip()]
    return [line for line in lines if line.startswith(start)]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    """Targets of the links and pictures of a page."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    return [found["target"] for found in _LINK.finditer(text)]


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may be, as repositories' sites make it."""
    slugs: list[str] = []
    for heading in _HEADING.finditer(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["text"])
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        slugs.append(slug if slug not in slugs else f"{slug}-{slugs.count(slug)}")
    return set(slugs)


def table(page: Path, first_heading: str) -> list[list[str]]:
    """The rows below the heading of the table whose first column is called so."""
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()]
    start = next(k for k, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows
