"""Cutting a clip into windows, and their blend weights."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unish.errors import InputError
from unish.fusion.windows import blend_weights, sample_pixels, sample_uv, split_frames


@given(st.integers(1, 700), st.integers(4, 60), st.floats(0.05, 0.5))
def test_windows_cover_the_clip_and_overlap(count, size, share):
    overlap = max(1, int(share * size))
    windows = split_frames(count, size, overlap)
    assert windows[0].start == 0 and windows[-1].stop == count
    assert len({len(window) for window in windows}) == 1 and len(windows[0]) <= size
    for before, after in itertools.pairwise(windows):
        assert before.stop - after.start >= overlap and after.start > before.start
    # Not one window more than needed.
    assert len(windows) == 1 or count > (len(windows) - 1) * (size - overlap) + overlap


@given(st.integers(1, 400), st.integers(4, 60))
def test_shares_add_up_and_change_evenly(count, size):
    windows = split_frames(count, size, size // 2)
    total = np.zeros(count)
    for window, weights in zip(windows, blend_weights(windows), strict=True):
        assert (weights > 0).all()
        total[window.start : window.stop] += weights
        assert np.abs(np.diff(weights)).max(initial=0) <= 0.5
    np.testing.assert_allclose(total, 1)


def test_one_window_says_it_all():
    (weights,) = blend_weights(split_frames(20, 30, 10))
    np.testing.assert_array_equal(weights, np.ones(20))


@pytest.mark.parametrize("overlap", [0, 16])
def test_an_overlap_that_cannot_be_is_refused(overlap):
    with pytest.raises(InputError, match="at least twice as long"):
        split_frames(100, 30, overlap)


def test_samples_lie_inside_and_where_they_say():
    rows, columns = sample_pixels(98, 168)
    assert rows.max() < 98 and columns.max() < 168 and len(rows) == len(np.unique(rows * 168 + columns))
    uv = sample_uv(98, 168) * np.hypot(98, 168) / 2
    np.testing.assert_allclose(uv[:, 0], columns + 0.5 - 84, atol=1e-9)
    np.testing.assert_allclose(uv[:, 1], rows + 0.5 - 49, atol=1e-9)
