"""The site: it builds without a warning, asks nobody for anything, and its links and reference are whole."""

import importlib
import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="the documentation's packages are not installed"
)

FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}
"""Tag → attribute whose address a browser opens by itself."""
PUBLIC = ("unish", "unish.body", "unish.evaluation", "unish.export", "unish.pipeline", "unish.viewer")


@dataclass
class Page(HTMLParser):
    """What a page has."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        if tag in FETCHED and values.get(FETCHED[tag]) and values.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(values[FETCHED[tag]] or "")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def build(repository: Path, place: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place), *options],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory) -> dict[Path, Page]:
    """The pages of a fresh build, by their files."""
    place = tmp_path_factory.mktemp("site")
    done = build(repository, place)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for path in sorted(place.rglob("*.html")):
        found[path] = Page()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def reference(site: dict[Path, Page]) -> list[Page]:
    pages = [page for path, page in site.items() if path.parent.name == "api"]
    assert len(pages) == 9
    return pages


def test_every_page_of_the_docs_is_in_the_site(site, repository):
    names = {path.name for path in site}
    assert {f"{page.stem}.html" for page in (repository / "docs").rglob("*.md")} < names
    assert {"start.html", "training_in_detail.html"} < names


def test_nothing_is_fetched_from_elsewhere(site):
    for path, page in site.items():
        assert page.fetched
        assert not [address for address in page.fetched if urlsplit(address).netloc], path.name
    styles = list(next(iter(site)).parent.rglob("*.css"))
    assert styles and not any(re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text()) for sheet in styles)


def test_every_link_leads_somewhere(site):
    count = 0
    for path, page in site.items():
        if path.name == "404.html":  # served from any folder
            continue
        for link in [*page.links, *page.fetched]:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                assert address.scheme == "https", link
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            if target.is_dir():
                target = target / "index.html"
            assert target.is_file(), f"{path.name}: {link}"
            if address.fragment and target.suffix == ".html" and address.fragment != "__skip":
                assert unquote(address.fragment) in site[target].ids, f"{path.name}: {link}"
            count += 1
    assert count > 500


def test_a_broken_anchor_ends_the_build(repository, tmp_path):
    """On a site of one page under the real settings."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# One\n\n[here](#two)\n")
    settings = f"INHERIT: {repository / 'mkdocs.yml'}\ndocs_dir: {docs}\nnav: [index.md]\n"
    settings += "".join(f"{name}: []\n" for name in ("hooks", "plugins", "extra_css"))
    (tmp_path / "mkdocs.yml").write_text(settings)
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1 and "'#two'" in done.stderr
    (docs / "index.md").write_text("# One\n\n[here](#two)\n\n## Two\n")
    assert build(tmp_path, tmp_path / "site").returncode == 0


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_every_public_name(site, module):
    ids = set().union(*(page.ids for page in reference(site)))
    shown = {name.rpartition(".")[2] for name in ids}
    missing = [
        name for name in importlib.import_module(module).__all__ if not name.startswith("_") and name not in shown
    ]
    assert not missing


def test_shapes_are_shown_as_they_are_written(site):
    """Griffe would take `"frames"` for the name of a type, and drop its quotes."""
    text = "\n".join("".join(page.text) for page in reference(site))
    shaped = re.findall(r"(?:Float|Float32|Bool|Int|UInt8)\[\s*\w+,\s*([^\]]*?),?\s*\]", text)
    assert len(shaped) > 150 and {'"frames"', '"frames height width 3"', '"10"', '"*batch 3"'} < set(shaped)
    assert not [shape for shape in shaped if not re.fullmatch(r'"[^"]*"', shape)]
