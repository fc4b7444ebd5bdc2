"""The real app in a process of its own, and a Chromium that looks at it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.app_client import RunningApp, api_values, call_api, call_private, running_app, upload_file
from unish.utils.assets import SAMPLE_CLIP

__all__ = ["RunningApp", "api_values", "call_api", "call_private", "upload_file"]


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> Iterator[RunningApp]:
    """The running app."""
    with running_app(tmp_path_factory.mktemp("app")) as app:
        yield app


@dataclass
class Visit:
    """A page of the app, and what went on in it."""

    tab: object
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def state(self) -> dict:
        return self.tab.evaluate("JSON.parse(JSON.stringify(unishViewers[0].state))")

    def body(self, person: int = 0) -> list[float]:
        """x of a body's vertices, as drawn."""
        return self.tab.evaluate(f"[...unishViewers[0].scene.body({person}, unishViewers[0].frame)[0]]")

    def add(self, clip: Path = SAMPLE_CLIP) -> None:
        """Add a video, and see who is in it."""
        self.tab.locator("#clip input[type=file]").set_input_files(clip)
        self.tab.locator(".pp-people input").first.wait_for()

    def set(self, control: str, value: float) -> None:
        self.tab.evaluate("document.querySelector('.uv-more').open = true")  # folded where the page is narrow
        self.tab.locator(control).fill(str(value))


@pytest.fixture(scope="module")
def visit(app, browser) -> Iterator[Callable[[], Visit]]:
    """Opens the app as a new visitor."""
    contexts = []

    def open_visit() -> Visit:
        context = browser.new_context(viewport={"width": 1000, "height": 700}, reduced_motion="reduce")
        contexts.append(context)
        visit = Visit(context.new_page())
        visit.tab.set_default_timeout(120_000)
        visit.tab.on("request", lambda request: visit.requests.append(request.url))
        visit.tab.on("pageerror", lambda error: visit.errors.append(str(error)))
        visit.tab.on("console", lambda line: visit.errors.append(line.text) if line.type == "error" else None)
        visit.tab.goto(f"{app.url}/?example=none")
        visit.tab.locator("#run").wait_for()
        return visit

    yield open_visit
    for context in contexts:
        context.close()
