"""A visitor's work: it says how far it is, and ends when the visitor cancels or leaves, or when its time is over."""

import contextvars
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from unish.errors import InputError
from unish.utils.progress import Progress

T = TypeVar("T")

NETWORK_FROM, NETWORK_TO = 0.3, 0.9
"""The share of the work that windows are: they take equally long, so the time left can be told."""
_GRACE_S = 1.0
_END = object()
_running: dict[str, "Task"] = {}
_lock = threading.Lock()


class Cancelled(InputError):
    """The visitor has ended the work, and knows it."""


class Task:
    """Work in progress for one visitor. `check` and `progress` raise `InputError` once it is to end."""

    def __init__(
        self, visitor: str, limit_s: float | int, bar: Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.id = secrets.token_hex(8)
        self.visitor = visitor
        self._bar, self._clock, self._limit_s = bar, clock, limit_s
        self._until_s = clock() + limit_s
        self._cancelled = False
        self._first_window: tuple[float, float] | None = None
        """Share done and time, when the windows began."""

    def cancel(self) -> None:
        """End the work at its next report."""
        self._cancelled = True

    def check(self) -> None:
        """Raises `InputError` when the work is to end."""
        if self._cancelled:
            raise Cancelled("Cancelled.")
        if self._clock() > self._until_s:
            raise self._too_long()

    def progress(self, share: float, message: str) -> None:
        """What the pipeline reports to: (share done, what is being done)."""
        self.check()
        if self._bar is not None:
            self._bar(share, desc=self._describe(share, message))

    def run(self, work: Callable[[Progress], T]) -> T:
        """The value of `work(progress)`. Raises what it raises, and `InputError` once its time is over.

        Work that does not report in time is left behind in its thread: nobody waits for it, and it ends with its next
        report.
        """
        (value,) = self.steps(lambda progress, show: work(progress))
        return value

    def steps(self, work: Callable[[Progress, Callable[[T], None]], T]) -> Iterator[T]:
        """Each value that `work(progress, show)` shows, as soon as it is there, and last the one that it returns.

        Progress is told of until something is shown. Raises as `run` does. Whoever leaves off early ends the work.
        """
        shown: SimpleQueue[Any] = SimpleQueue()
        future: Future[T] = Future()

        def show(value: T) -> None:
            self._bar = None  # Gradio would lay it over what is shown
            shown.put(value)

        def attempt() -> None:
            try:
                future.set_result(work(self.progress, show))
            except BaseException as error:
                future.set_exception(error)
            shown.put(_END)

        with _lock:
            _running[self.id] = self
        until_s = time.monotonic() + self._limit_s + _GRACE_S
        try:
            # Gradio and ZeroGPU keep the request in context variables.
            thread = threading.Thread(target=contextvars.copy_context().run, args=(attempt,), daemon=True)
            thread.start()
            while (value := shown.get(timeout=max(0.0, until_s - time.monotonic()))) is not _END:
                yield value
            yield future.result()
        except Empty:
            raise self._too_long() from None
        finally:
            if not future.done():
                self.cancel()
            with _lock:
                _running.pop(self.id, None)

    def _describe(self, share: float, message: str) -> str:
        """What is being done, how far it is, and the time left where it can be told; windows are no visitor's business.

        One line: the share that Gradio writes behind it is pushed to the next, which is not shown (page.css).
        """
        percent = f" · {100 * share:.0f} %"
        if not (message.startswith("Reconstructing") and NETWORK_FROM <= share < NETWORK_TO):
            return f"{message}{percent}\n"
        if self._first_window is None:
            self._first_window = share, self._clock()
        began, began_s = self._first_window
        left = time_left((share - began) / (NETWORK_TO - began), self._clock() - began_s)
        return f"Reconstructing{percent}" + (f" · {left} left" if left else "") + "\n"

    def _too_long(self) -> InputError:
        return InputError(
            f"This took longer than {self._limit_s:.0f} s, which is the limit here. Choose a shorter part of the "
            "video, fewer frames per second, or fewer people."
        )


def task_progress(task: str, bar: Any = None) -> Progress:
    """What a task of this id reports to; where it runs in another process (on ZeroGPU), `bar` alone hears of it."""
    with _lock:
        running = _running.get(task)
    return (Task("", float("inf"), bar) if running is None else running).progress


def cancel_tasks(visitor: str) -> None:
    """End all that is being done for a visitor."""
    with _lock:
        tasks = [task for task in _running.values() if task.visitor == visitor]
    for task in tasks:
        task.cancel()


def time_left(done: float, elapsed_s: float | int) -> str | None:
    """In words how long equal pieces of work will go on, after a share of them; None where that cannot be told."""
    if not 0 < done < 1:
        return None
    seconds = elapsed_s * (1 - done) / done
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} min"
