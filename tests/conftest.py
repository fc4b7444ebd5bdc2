"""Shared fixtures, and shape checking: every jaxtyping annotation of unish is enforced while the tests run."""

from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("unish", "beartype.beartype")

REPOSITORY = Path(__file__).resolve().parents[1]


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
def screenshots(repository) -> Path:
    """Where tests leave pictures of pages to be looked at."""
    folder = repository / "artifacts" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
