"""Shared fixtures, and shape checking: jaxtyping annotations of unish and train are enforced while the tests run."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import install_import_hook

import tests.helpers.type_checker  # noqa: F401 (named in the hook below)
from benchmarks.chromium import CHROMIUM_FLAGS

REPOSITORY = Path(__file__).resolve().parents[1]
NUMBA_KERNELS = ("train.synthetic.painting", "train.synthetic.raster", "train.synthetic.shading")
"""Compiled functions, which numba cannot cache when they are wrapped."""


def _modules_of_train() -> list[str]:
    paths = sorted((REPOSITORY / "train").rglob("*.py"))
    names = (".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths)
    return [name for name in names if not name.endswith("__init__") and name not in NUMBA_KERNELS]


install_import_hook(["unish", *_modules_of_train()], "tests.helpers.type_checker.check")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: processes that take whole files then end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def maps_are_made_where_they_are_tested(request: pytest.FixtureRequest) -> Iterator[None]:
    """Structure from motion takes seconds: it runs in tests/fusion and in processes that tests start, not elsewhere."""
    from unish.pipeline import mapping

    with pytest.MonkeyPatch.context() as patch:
        if "fusion" not in request.path.parts:
            patch.setattr(mapping, "map_clip", lambda *arguments, **options: None)
        yield


@pytest.fixture(autouse=True)
def level_of_the_log() -> Iterator[None]:
    """Commands that a test runs in its process may quieten the log: not for the tests after it."""
    log = logging.getLogger("unish")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Numbers measured on the released network and the reference evaluators."""
    folder = REPOSITORY.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip(f"the reference numbers are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def clips_dir() -> Path:
    """Real footage, not part of the repository."""
    folder = REPOSITORY.parent / "shared" / "clips"
    if not folder.is_dir():
        pytest.skip(f"the real clips are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Small files that once gave a wrong result, not part of the repository."""
    folder = REPOSITORY.parent / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip(f"the cases are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def screenshots(repository) -> Path:
    """Where tests leave pictures of pages to be looked at."""
    folder = repository / "artifacts" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Headless Chromium with software GL; skips where there is none. Of a module: two at once in a process are not
    allowed by Playwright, nor is another event loop beside it."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    playwright = pytest.importorskip("playwright.sync_api")
    if executable is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def textured_image() -> np.ndarray:
    """A fixed picture full of detail, 240×320."""
    random = np.random.default_rng(0)
    coarse = random.integers(40, 210, (12, 16, 3)).repeat(20, 0).repeat(20, 1)
    return (coarse + random.integers(-25, 25, coarse.shape)).clip(0, 255).astype(np.uint8)
