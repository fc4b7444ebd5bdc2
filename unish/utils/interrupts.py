"""Ctrl-C and SIGTERM that come as an exception only where no finished work can be lost by it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupts:
    """The signals that have come; each raises KeyboardInterrupt at once inside `raising`, and is kept elsewhere."""

    def __init__(self) -> None:
        self.signal_number = 0
        """The first signal that came; 0 for none."""
        self._is_raising = False

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.signal_number or signal.SIGINT)

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """A block that a signal breaks off, also one that came before the block."""
        outer = self._is_raising
        self._is_raising = True
        try:
            self.check()
            yield
            self.check()  # Python swallows an exception that was raised in a destructor
        finally:
            self._is_raising = outer

    def check(self) -> None:
        """Raises KeyboardInterrupt when a signal has come."""
        if self.signal_number:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = self.signal_number or number
        if self._is_raising:
            raise KeyboardInterrupt


_UNCLAIMED = (signal.SIG_DFL, signal.default_int_handler)


@contextlib.contextmanager
def deferred_interrupts(*signals: signal.Signals) -> Iterator[Interrupts]:
    """For as long as the block runs, the signals (Ctrl-C by default) raise inside `Interrupts.raising` only.

    Inside another such block it is that block's `Interrupts`. A signal that the program handles in a way of its own, or
    ignores, stays as it is, and so do all of them outside the main thread.
    """
    signals = signals or (signal.SIGINT,)
    if threading.current_thread() is not threading.main_thread():
        yield Interrupts()
        return
    handlers = {number: signal.getsignal(number) for number in signals}
    owners = [getattr(handler, "__self__", None) for handler in handlers.values()]
    if active := next((owner for owner in owners if isinstance(owner, Interrupts)), None):
        yield active
        return
    interrupts = Interrupts()
    claimed = {number: handler for number, handler in handlers.items() if handler in _UNCLAIMED}
    for number in claimed:
        signal.signal(number, interrupts._handle)
    try:
        yield interrupts
    finally:
        for number, handler in claimed.items():
            signal.signal(number, handler)
