"""Links of every page, as somebody reads it in the repository: files and headings are there."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.pages import anchors, links, pages, prose

FOLDERS = ("benchmarks", "docs", "scripts", "space", "tests", "train", "unish")


def broken(page: Path, target: str) -> str:
    """What is wrong with a link, or nothing. Anchors of the reference are made with the site (test_site.py)."""
    if re.match(r"[a-z]+:", target):
        address = urlsplit(target)
        return "" if address.scheme == "https" and "." in address.netloc else "no address"
    path, _, anchor = target.partition("#")
    if path.startswith("/"):
        return "absolute"
    place = page if not path else (page.parent / path)
    if not place.is_file():
        return "no such file"
    made = "docs/api/" in place.resolve().as_posix() and "." in anchor
    return "" if not anchor or made or anchor in anchors(place) else "no such heading"


def test_every_link_and_image_is_there(repository):
    found = [(page, target) for page in pages(repository) for target in links(page)]
    assert len(found) > 50
    faults = [f"{page.name}: {target}: {fault}" for page, target in found if (fault := broken(page, target))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("other.md#two-words", ""),
        ("#two-words", "no such heading"),
        ("other.md#elsewhere", "no such heading"),
        ("missing.md", "no such file"),
        ("/other.md", "absolute"),
        ("https://example", "no address"),
        ("http://example.org", "no address"),
        ("https://example.org/page", ""),
    ],
)
def test_a_broken_link_is_found(tmp_path, link, fault):
    page = tmp_path / "page.md"
    page.write_text(
        f"# One\n\nSee [this]({link}), but not `[that](nowhere.md)`.\n\n```\n[nor](nowhere.md)\n# Two words\n```\n"
    )
    (tmp_path / "other.md").write_text("# One\n\n## Two `words`!\n")
    assert [broken(page, target) for target in links(page)] == [fault]


def test_every_path_that_is_named_is_there(repository):
    """`unish/errors.py`, `train/configs/` and the like; stars stand for several."""
    named = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`")
    found = [(page, name) for page in pages(repository) for name in named.findall(prose(page))]
    assert len(found) > 15
    missing = [f"{page.name}: {name}" for page, name in found if not list(repository.glob(name.rstrip("/")))]
    assert not missing
