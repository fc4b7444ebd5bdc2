"""What a visitor is told while the work goes on."""

import pytest

from space.progress import break_off, go_on, report_to, time_left
from unish.errors import InputError


def test_the_time_left_comes_from_the_windows_before():
    told, now = [], [100.0]
    report = report_to("ada", lambda share, desc: told.append(desc), clock=lambda: now[0])
    report(0.1, "Reading the clip")
    report(0.3, "Reconstructing window 1 of 3")
    now[0] += 8
    report(0.5, "Reconstructing window 2 of 3")
    now[0] += 8
    report(0.7, "Reconstructing window 3 of 3")
    report(0.9, "Joining")
    assert told == [
        "Reading the clip",
        "Reconstructing window 1 of 3",
        "Reconstructing window 2 of 3 · about 16 s left",
        "Reconstructing window 3 of 3 · about 8 s left",
        "Joining",
    ]


def test_long_times_are_minutes():
    assert time_left(0.36, 28) == "about 4 min"  # a tenth is done


def test_cancelling_breaks_off_this_visitor_alone():
    ada, bob = (report_to(name, lambda share, desc: None) for name in ("ada", "bob"))
    break_off("ada")
    bob(0.4, "Reconstructing")
    with pytest.raises(InputError, match="Cancelled"):
        ada(0.4, "Reconstructing")
    go_on("ada")
    ada(0.4, "Reconstructing")
