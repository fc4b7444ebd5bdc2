"""Signals raise where that is allowed, and are kept for later elsewhere."""

import contextlib
import signal
import threading

import pytest

from unish.utils.interrupts import Interrupts, deferred_interrupts

USER = signal.SIGUSR1


def test_a_signal_raises_at_once_only_where_it_may():
    with deferred_interrupts(USER) as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.raising():
            signal.raise_signal(USER)
            pytest.fail("the block goes on")
        signal.raise_signal(USER)  # and not here
        assert interrupts.signal_number == USER and interrupts.exit_code == 128 + USER
    assert signal.getsignal(USER) == signal.SIG_DFL


def test_a_signal_that_came_before_the_block_or_was_swallowed_in_it_still_stops():
    with deferred_interrupts(USER) as interrupts:
        signal.raise_signal(USER)
        with pytest.raises(KeyboardInterrupt), interrupts.raising():
            pytest.fail("the block begins")
    with deferred_interrupts(USER) as interrupts, pytest.raises(KeyboardInterrupt), interrupts.raising():
        swallow_an_interrupt()


def swallow_an_interrupt() -> None:
    """As Python does with what a destructor raises."""
    with contextlib.suppress(KeyboardInterrupt):
        signal.raise_signal(USER)


def test_an_inner_block_is_the_outer_ones():
    with deferred_interrupts(signal.SIGINT, USER) as outer:
        with deferred_interrupts(USER) as inner:
            assert inner is outer
        signal.raise_signal(USER)
        assert outer.signal_number == USER
    assert outer.exit_code == 128 + USER and Interrupts().exit_code == 130


def test_handlers_of_the_program_stay_as_they_are():
    calls = []
    before = signal.signal(USER, lambda number, frame: calls.append(number))
    try:
        with deferred_interrupts(USER) as interrupts:
            signal.raise_signal(USER)
        assert calls == [USER] and not interrupts.signal_number
        signal.signal(USER, signal.SIG_IGN)
        with deferred_interrupts(USER) as interrupts, interrupts.raising():
            signal.raise_signal(USER)
        assert signal.getsignal(USER) == signal.SIG_IGN
    finally:
        signal.signal(USER, before)


def test_other_threads_handle_no_signals():
    results, handler = [], signal.getsignal(signal.SIGINT)

    def work():
        with deferred_interrupts() as interrupts, interrupts.raising():
            results.append(interrupts.signal_number)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [0] and signal.getsignal(signal.SIGINT) is handler
