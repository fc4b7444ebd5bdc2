"""A result in numbers, and as HTML that nothing in it can break out of."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.reconstructions import make_reconstruction
from unish.analysis.summary import summarise
from unish.viewer.numbers import numbers_html


def test_numbers_of_a_known_scene():
    summary = summarise(make_reconstruction(frames=5, people=2))
    assert summary.frames == 5
    assert summary.seconds == pytest.approx(4 / 6)
    assert summary.camera_path_m == pytest.approx(0.4, abs=1e-5)
    assert [person.name for person in summary.people] == ["Person 1", "Person 2"]
    for person in summary.people:
        assert person.frames_seen == 5
        assert person.height_m == pytest.approx(1.0, abs=1e-5)
        assert person.moved_m == pytest.approx(0.8, abs=1e-5)
    assert summary.warnings == ("a doubt",)


def test_frames_in_which_nobody_was_seen_do_not_count():
    scene = make_reconstruction(frames=5)
    present = np.array([True, True, True, False, False])
    scene = dataclasses.replace(scene, people=(dataclasses.replace(scene.people[0], present=present),))
    person = summarise(scene).people[0]
    assert person.frames_seen == 3
    assert person.moved_m == pytest.approx(0.4, abs=1e-5)
    assert "visible in 3 of 5 frames" in numbers_html(summarise(scene))


def test_text_from_outside_stays_text():
    summary = dataclasses.replace(
        summarise(make_reconstruction()),
        weights="<script>alert(1)</script>",
        warnings=("<img src=x onerror=alert(1)>",),
    )
    shown = numbers_html(summary)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "&lt;script&gt;" in shown
