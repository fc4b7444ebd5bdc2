"""Decoding order, presentation time, frame number and key frames, from what packets say alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unish.video.timeline import NO_STAMP, Packets, mended, timeline_of

TICK_S = 1 / 90_000
STEP = 3_000


def packets_of(order, stamps, key, **changes) -> Packets:
    """Packets in the given decoding `order` of frames that are shown at `stamps`, as a muxer would write them."""
    order, stamps = np.asarray(order, np.int64), np.asarray(stamps, np.int64)
    dts = np.sort(stamps) - 2 * STEP
    packets = Packets(
        stamps[order], dts, np.asarray(key, bool), np.ones(len(order), bool), TICK_S, STEP * TICK_S, reordered=True
    )
    return dataclasses.replace(packets, **changes)


@st.composite
def coded_streams(draw):
    """Groups of frames, each a key frame and then references, each with B-frames that are decoded after it."""
    order, key, frame = [], [], 0
    for _ in range(draw(st.integers(1, 5))):
        order.append(frame)
        key.append(True)
        frame += 1
        for _ in range(draw(st.integers(0, 4))):
            between = draw(st.integers(0, 3))
            order += [frame + between, *range(frame, frame + between)]
            key += [False] * (between + 1)
            frame += between + 1
    steps = draw(st.lists(st.integers(1, 9_000), min_size=frame, max_size=frame))
    return order, np.cumsum(steps) + draw(st.integers(-(10**9), 10**12)), key


@given(coded_streams())
@settings(deadline=None)
def test_frames_are_numbered_in_the_order_in_which_they_are_shown(stream):
    order, stamps, key = stream
    timeline = timeline_of(packets_of(order, stamps, key))
    np.testing.assert_allclose(timeline.times_s, (stamps - stamps[0]) * TICK_S, atol=1e-9)
    assert timeline.jumps == 0 and len(timeline) == len(order)
    if timeline.stamps is not None:
        np.testing.assert_array_equal(timeline.stamps, stamps)


@given(coded_streams(), st.data())
@settings(deadline=None)
def test_every_frame_is_decoded_from_the_last_key_frame_shown_no_later(stream, data):
    order, stamps, key = stream
    timeline = timeline_of(packets_of(order, stamps, key))
    if timeline.stamps is None:
        return
    number = data.draw(st.integers(0, len(order) - 1))
    at = timeline.key_before(number)
    keys = [frame for frame, is_key in zip(order, key, strict=True) if is_key and frame <= number]
    assert (0 if at is None else timeline.key_number(at)) == max(keys)
    assert at is None or order[timeline.key_packets[at]] == max(keys)


@given(coded_streams(), st.data())
@settings(deadline=None)
def test_frames_that_an_edit_list_leaves_out_have_no_number(stream, data):
    order, stamps, key = stream
    first = data.draw(st.integers(0, len(order) - 1))
    shown = np.array([frame >= first for frame in order])
    timeline = timeline_of(packets_of(order, stamps, key, shown=shown))
    np.testing.assert_allclose(timeline.times_s, (stamps[first:] - stamps[first]) * TICK_S, atol=1e-9)


def test_frames_before_the_first_key_frame_have_no_number():
    packets = packets_of([1, 2, 0, 5, 3, 4], np.arange(6) * STEP, [False, False, False, True, False, False])
    timeline = timeline_of(packets)
    assert timeline.stamps is not None and timeline.stamps.tolist() == [5 * STEP] and timeline.first_packet == 3


@given(coded_streams())
@settings(deadline=None)
def test_a_file_without_presentation_stamps_is_told_by_the_order_of_decoding(stream):
    order, _, key = stream
    stamps = np.arange(len(order)) * STEP
    counted = packets_of(order, stamps, key, pts=stamps.copy(), dts=stamps - STEP)
    missing = packets_of(order, stamps, key, pts=np.full(len(order), NO_STAMP))
    nothing = dataclasses.replace(missing, dts=np.full(len(order), NO_STAMP))
    for packets in (counted, missing, nothing, packets_of(order, stamps, key, counted=True)):
        timeline = timeline_of(packets)
        assert timeline.stamps is None and timeline.key_before(len(order) - 1) is None
        np.testing.assert_allclose(timeline.times_s, stamps * TICK_S, atol=1e-9)


def test_a_clock_that_is_set_back_goes_on_at_the_usual_step():
    once = np.arange(30) * STEP
    twice = np.concatenate([once, once])
    packets = packets_of(np.arange(60), np.arange(60), [True] * 60, pts=twice, dts=twice - STEP)
    timeline = timeline_of(packets)
    np.testing.assert_allclose(timeline.times_s, np.arange(60) / 30, atol=1e-9)
    assert timeline.stamps is None and timeline.jumps == 1


# ---------------------------------------------------------------- times


rising = st.lists(st.floats(0.01, 5.0), min_size=1, max_size=40).map(lambda steps: np.cumsum([0.0, *steps]))


@given(rising, st.floats(-1e6, 1e6))
def test_good_stamps_keep_their_distances(times_s, origin_s):
    mended_s, _, jumps = mended(times_s + origin_s, 0.04)
    np.testing.assert_allclose(mended_s, times_s, atol=1e-8)
    assert jumps == 0


@given(st.lists(st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 1e15]), min_size=1, max_size=80))
@settings(deadline=None, max_examples=60)
def test_whatever_the_stamps_times_rise_from_zero(stamps_s):
    mended_s, step_s, _ = mended(np.array(stamps_s), 0.04)
    assert mended_s[0] == 0 and (np.diff(mended_s) > 0).all() and np.isfinite(mended_s).all() and step_s > 0


@given(st.integers(5, 60), st.data())
def test_repeated_stamps_do_not_move_the_good_ones_after_them(frames, data):
    times_s = np.arange(frames) / 30
    first = data.draw(st.integers(0, frames - 2))
    last = data.draw(st.integers(first, min(first + 40, frames - 2)))
    broken = times_s.copy()
    broken[first : last + 1] = times_s[first]
    mended_s, _, jumps = mended(broken, 1 / 30)
    np.testing.assert_allclose(mended_s, times_s, atol=1e-9)
    assert jumps == 0


@pytest.mark.parametrize("wrong_s", [-1e6, -0.05, 0.0, 1e3, 1e9])
@given(st.integers(12, 60), st.data())
def test_one_wrong_stamp_moves_nothing_else(wrong_s, frames, data):
    times_s = np.arange(frames) / 30
    at = data.draw(st.integers(3, frames - 4))
    broken = times_s.copy()
    broken[at] = times_s[at] + wrong_s
    mended_s, _, jumps = mended(broken, 1 / 30)
    np.testing.assert_allclose(np.delete(mended_s, at), np.delete(times_s, at), atol=1e-9)
    assert jumps == 0


def test_a_stamp_years_ahead_is_a_clock_that_was_set():
    mended_s, _, jumps = mended(np.array([0.0, 0.1, 0.2, 3e8, 3e8 + 0.1]), 0.04)
    np.testing.assert_allclose(mended_s, [0.0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
    assert jumps == 1


def test_a_long_gap_is_kept():
    times_s = np.concatenate([np.arange(30) / 30, 60 + np.arange(30) / 30])
    np.testing.assert_allclose(mended(times_s, 1 / 30)[0], times_s)
