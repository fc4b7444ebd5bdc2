"""The real app in a process of its own, and a Chromium that looks at it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.app_client import RunningApp, api_values, call_api, call_private, running_app, upload_file
from unish.utils.assets import SAMPLE_CLIP

__all__ = ["RunningApp", "api_values", "call_api", "call_private", "upload_file"]


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> Iterator[RunningApp]:
    """The running app, without structure from motion, which would cost every run seconds."""
    with running_app(tmp_path_factory.mktemp("app"), "--sfm", "off") as app:
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

    def upload(self, clip: Path) -> None:
        """Add a video, whatever comes of it."""
        self.tab.locator("#clip input[type=file]").set_input_files(clip)
        self.tab.locator("#clip video").wait_for(state="attached")

    def toasts(self) -> list[str]:
        """The messages that are on the screen."""
        shown = self.tab.locator("[data-testid=toast-body]").all()
        return [toast.inner_text() for toast in shown if toast.is_visible()]

    def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait for what only a look at the page can tell."""
        for _ in range(int(10 * seconds)):
            if condition():
                return
            self.tab.wait_for_timeout(100)
        raise AssertionError(f"not within {seconds} s")

    def shorten(self, end_s: float) -> None:
        """Take the clip up to a moment only: a few frames, where a test needs no more."""
        self.tab.locator("#options button").first.click()
        self.tab.locator("#to textarea, #to input").fill(f"{end_s:g}")
        self.tab.keyboard.press("Tab")

    def set(self, control: str, value: float) -> None:
        self.tab.evaluate("document.querySelector('.uv-more').open = true")  # folded where the page is narrow
        self.tab.locator(control).fill(str(value))


@contextlib.contextmanager
def visitors(app: RunningApp, browser) -> Iterator[Callable[[], Visit]]:
    """Opens the app as a new visitor; all of them leave at the end."""
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


@pytest.fixture
def visit(app, browser) -> Iterator[Callable[[], Visit]]:
    """Opens the app as a new visitor, who leaves after the test."""
    with visitors(app, browser) as open_visit:
        yield open_visit


@pytest.fixture(scope="module")
def long_visit(app, browser) -> Iterator[Callable[[], Visit]]:
    """Opens the app as a new visitor, who stays for all tests of the file."""
    with visitors(app, browser) as open_visit:
        yield open_visit
