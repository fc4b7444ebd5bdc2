"""What a visitor is told while the work goes on, and when it ends before it is done."""

import threading

import pytest

from space.tasks import Task, cancel_tasks, task_progress, time_left
from unish.errors import InputError


def test_the_time_left_comes_from_the_windows_before():
    told, now = [], [100.0]
    task = Task("ada", 1000, bar=lambda share, desc: told.append(desc), clock=lambda: now[0])
    task.progress(0.1, "Reading video")
    task.progress(0.3, "Reconstructing window 1 of 3")
    now[0] += 8
    task.progress(0.5, "Reconstructing window 2 of 3")
    now[0] += 8
    task.progress(0.7, "Reconstructing window 3 of 3")
    task.progress(0.8, "Drawing the overlay video")
    task.progress(0.9, "Stitching the parts together")
    assert "".join(told).splitlines() == [
        "Reading video · 10 %",
        "Reconstructing · 30 %",
        "Reconstructing · 50 % · about 16 s left",
        "Reconstructing · 70 % · about 8 s left",
        "Drawing the overlay video · 80 %",
        "Stitching the parts together · 90 %",
    ]


def test_long_times_are_minutes():
    assert time_left(0.1, 28) == "about 4 min"


def test_cancelling_ends_this_visitors_work_alone_and_lets_the_next_begin():
    ada, bob = Task("ada", 60), Task("bob", 60)

    def work(report):
        cancel_tasks("ada")
        bob.progress(0.4, "Reconstructing")
        report(0.4, "Reconstructing")

    with pytest.raises(InputError, match=r"^Cancelled\.$"):
        ada.run(work)
    assert Task("ada", 60).run(lambda report: report(0.4, "Reconstructing") or "done") == "done"


def test_a_task_is_reached_by_its_id_while_it_runs_and_by_nobody_afterwards():
    """The function that has the GPU gets the id, as it may run in another process."""
    task, heard = Task("ada", 60), []

    def work(report):
        cancel_tasks("ada")
        task_progress(task.id)(0.5, "Reconstructing")

    with pytest.raises(InputError, match="Cancelled"):
        task.run(work)
    task_progress(task.id, lambda share, desc: heard.append(desc))(0.5, "Reconstructing")
    assert heard == ["Reconstructing · 50 %\n"]


def test_work_that_reports_ends_when_its_time_is_over():
    now = [0.0]
    task = Task("ada", 10, clock=lambda: now[0])

    def work(report):
        report(0.1, "Reading video")
        now[0] = 11
        report(0.2, "Reading video")

    with pytest.raises(InputError, match="longer than 10 s"):
        task.run(work)


def test_what_is_shown_on_the_way_comes_before_the_end_and_no_progress_covers_it():
    told, shown = [], threading.Event()
    task = Task("ada", 60, bar=lambda share, desc: told.append(desc))

    def work(report, show):
        report(0.9, "Preparing the scene")
        show("early")
        assert shown.wait(30)
        report(0.95, "Fitting bodies")
        return "late"

    steps = task.steps(work)
    assert next(steps) == "early"
    shown.set()
    assert list(steps) == ["late"]
    assert told == ["Preparing the scene · 90 %\n"]


def test_work_ends_when_nobody_waits_for_its_next_step():
    ended = threading.Event()

    def work(report, show):
        show("early")
        try:
            while True:
                report(0.9, "Fitting bodies")
        finally:
            ended.set()

    steps = Task("ada", 60).steps(work)
    assert next(steps) == "early"
    steps.close()
    assert ended.wait(30)


def test_nobody_waits_for_work_that_never_reports(monkeypatch):
    monkeypatch.setattr("space.tasks._GRACE_S", 0.0)
    released, ended = threading.Event(), []

    def hangs(report):
        released.wait(60)
        try:
            report(0.5, "Reconstructing")
        except InputError as error:
            ended.append(str(error))

    with pytest.raises(InputError, match="longer than 0 s"):
        Task("ada", 0.05).run(hangs)
    assert Task("bob", 60).run(lambda report: "done") == "done", "the next one is not kept waiting"
    released.set()
    for thread in threading.enumerate():
        if thread.daemon and "run" in repr(getattr(thread, "_target", "")):
            thread.join(10)
    assert len(ended) == 1, "left behind, it ends with its next report"


def test_an_error_of_the_work_is_that_of_the_task():
    def fails(report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Task("ada", 60).run(fails)
