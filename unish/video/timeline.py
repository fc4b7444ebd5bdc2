"""When the frames of a stream are shown, and in which order, told from its packets alone: nothing is decoded.

Four things that are often taken for one are kept apart. Packets come in *decoding order*. Each frame has a
*presentation time*, by which frames are shown; its *number* is its place in that order, from 0. And a decoder can only
start at a *key frame*. Files are wrong about all four at times: stamps are missing, repeat, run backwards or jump.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

NO_STAMP = int(np.iinfo(np.int64).min)
_JUMP_S = 600.0
"""A step longer than this is a clock that was set, not a frame shown for so long."""
_LOOK_AHEAD = 32
"""Stamps that run backwards may come right again within so many frames; if not, the clock was set back."""
_MOST_SPIKES = 4
"""So many frames in a row with a stamp in the far future are passed over."""


@dataclass(frozen=True)
class Packets:
    """What the packets of a video stream say of themselves, in decoding order."""

    pts: Int64[np.ndarray, "packets"]
    """Presentation stamps in ticks; `NO_STAMP` where there is none."""
    dts: Int64[np.ndarray, "packets"]
    """Decoding stamps in ticks; `NO_STAMP` where there is none."""
    key: Bool[np.ndarray, "packets"]
    shown: Bool[np.ndarray, "packets"]
    """False for those that an edit list leaves out, empty ones and frames that are only referred to."""
    tick_s: float
    step_s: float
    """Between two frames, by the rate that the file states."""
    reordered: bool
    """The decoder may give frames out in another order than it takes packets."""
    counted: bool = False
    """The file holds no presentation stamps: those that are here were made up while it was read."""

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True)
class Timeline:
    """The frames of a stream in the order in which they are shown: frame n of these arrays has number n."""

    times_s: Float64[np.ndarray, "frames"]
    """Since the first frame, strictly rising."""
    step_s: float
    """The usual time between two frames; what the last one is taken to last."""
    stamps: Int64[np.ndarray, "frames"] | None
    """By which a decoded frame is recognised, strictly rising; None where only the order of decoding tells."""
    key_stamps: Int64[np.ndarray, "keys"]
    """Presentation stamps of key frames, in decoding order; empty without `stamps`."""
    key_packets: Int64[np.ndarray, "keys"]
    """Which packets those are."""
    first_packet: int
    """The first that can be decoded."""
    jumps: int
    """How often the clock was set: there, frames are taken to follow on at the usual step."""

    def __len__(self) -> int:
        return len(self.times_s)

    def at_rate(self, fps: float) -> "Timeline":
        """The same frames at even times."""
        return dataclasses.replace(self, times_s=np.arange(len(self)) / fps, step_s=1 / fps, jumps=0)

    def key_number(self, key: int) -> int:
        """Number of a key frame."""
        assert self.stamps is not None
        return int(np.searchsorted(self.stamps, self.key_stamps[key]))

    def key_before(self, number: int) -> int | None:
        """Index of the last key frame from which a frame can be decoded; None: from the start."""
        if self.stamps is None:
            return None
        before = int(np.searchsorted(self.key_stamps, self.stamps[number], side="right")) - 1
        return before if before > 0 else None


def timeline_of(packets: Packets) -> Timeline:
    """Number and time of every frame. Frames before the first key frame cannot be decoded and have none."""
    keys = np.flatnonzero(packets.key)
    first = int(keys[0]) if len(keys) else 0
    shown = packets.shown.copy()
    shown[:first] = False
    tells = _stamps_tell_the_order(packets, shown)
    if tells and len(keys):
        shown &= packets.pts >= packets.pts[first]  # leading frames refer to what lies before the file's start
    if tells:
        stamps = np.sort(packets.pts[shown], kind="stable")
        if (np.diff(stamps) > 0).all():
            times_s, step_s, jumps = mended(_seconds(stamps, packets.tick_s), packets.step_s)
            keys = keys[np.flatnonzero(packets.pts[keys] != NO_STAMP)]
            rising = keys[packets.pts[keys] >= np.maximum.accumulate(packets.pts[keys])]
            return Timeline(times_s, step_s, stamps, packets.pts[rising], rising, first, jumps)
    times_s, step_s, jumps = mended(_in_order_of_showing(packets, shown), packets.step_s)
    none = np.empty(0, np.int64)
    return Timeline(times_s, step_s, None, none, none, first, jumps)


def _stamps_tell_the_order(packets: Packets, shown: Bool[np.ndarray, "packets"]) -> bool:
    pts, dts = packets.pts[shown], packets.dts[shown]
    if not len(pts) or (pts == NO_STAMP).any() or len(_segments(packets, shown)) > 1:
        return False
    # Where a file only counts packets, presentation stamps follow decoding stamps at a fixed distance.
    known = dts != NO_STAMP
    only_counted = bool(known.all()) and bool((pts - dts == pts[0] - dts[0]).all())
    return not (packets.reordered and (packets.counted or only_counted))


def _segments(packets: Packets, shown: Bool[np.ndarray, "packets"]) -> list[Int64[np.ndarray, "part"]]:
    """Shown packets in runs within which the clock goes on: it was set back where decoding stamps run backwards."""
    places = np.flatnonzero(shown)
    for clock in (packets.dts, packets.pts):
        stamped = places[clock[places] != NO_STAMP]
        if clock is packets.pts:
            stamped = stamped[packets.key[stamped]]  # other frames may be shown before those that they refer to
        if len(stamped) == 0:
            continue
        back = stamped[1:][np.diff(clock[stamped]) < 0]
        return np.split(places, np.searchsorted(places, back))
    return [places]


def _in_order_of_showing(packets: Packets, shown: Bool[np.ndarray, "packets"]) -> Float64[np.ndarray, "frames"]:
    """Stamps in seconds, as good as the file has them, in the order in which the decoder gives the frames out."""
    places = np.flatnonzero(shown)
    known = [int((clock[places] != NO_STAMP).sum()) for clock in (packets.pts, packets.dts)]
    clock = packets.pts if known[0] >= known[1] else packets.dts  # of decoding there are as many moments as of showing
    if not max(known, default=0):
        return np.arange(len(places)) * packets.step_s
    stamped = np.flatnonzero(clock[places] != NO_STAMP)
    stamps_s = _seconds(clock[places[stamped]], packets.tick_s)
    every = np.interp(np.arange(len(places)), stamped, stamps_s)
    before, after = np.arange(stamped[0]) - stamped[0], np.arange(1, len(places) - stamped[-1])
    every[: stamped[0]] += before * packets.step_s
    every[stamped[-1] + 1 :] += after * packets.step_s
    runs = np.split(every, np.searchsorted(places, [run[0] for run in _segments(packets, shown)[1:]]))
    return np.concatenate([np.sort(run) for run in runs])


def _seconds(stamps: Int64[np.ndarray, "frames"], tick_s: float) -> Float64[np.ndarray, "frames"]:
    """Since the first; the difference is taken before rounding, so that clocks far from 0 lose nothing."""
    return (stamps - stamps[0]).astype(np.float64) * tick_s if len(stamps) else np.empty(0)


def mended(
    stamps_s: Float64[np.ndarray, "frames"], stated_step_s: float
) -> tuple[Float64[np.ndarray, "frames"], float, int]:
    """Strictly rising times from 0, the usual step, and how often the clock was set.

    Good stamps keep their distances, across long gaps too. Frames with one stamp share the time until the next, and
    so do single frames whose stamp runs backwards or far ahead. Where the clock was set and stays so, frames follow on
    at the usual step.
    """
    steps = np.diff(stamps_s)
    usual = steps[(steps > 0) & (steps <= _JUMP_S)]
    step_s = float(np.median(usual)) if len(usual) else stated_step_s
    if ((steps > 0) & (steps <= _JUMP_S)).all():
        return stamps_s - stamps_s[:1], step_s, 0
    return _anchored(stamps_s, step_s)


def _anchored(
    stamps_s: Float64[np.ndarray, "frames"], step_s: float
) -> tuple[Float64[np.ndarray, "frames"], float, int]:
    """`mended`, by frames whose stamps are believed; the frames between two of them share the time between."""
    anchors, at_s = [0], [0.0]
    offset_s, jumps, frame, repeated, last = -float(stamps_s[0]), 0, 1, True, len(stamps_s) - 1
    while frame <= last:
        time_s = float(stamps_s[frame]) + offset_s
        _drop_spikes(anchors, at_s, frame, time_s, step_s)
        since, waiting = time_s - at_s[-1], frame - anchors[-1]
        if 0 < since <= _JUMP_S + waiting * step_s and (repeated or since >= 0.25 * waiting * step_s):
            anchors.append(frame)
            at_s.append(time_s)
            repeated = True
        elif since == 0 and repeated:
            if frame == last:
                anchors.append(frame)
                at_s.append(at_s[-1] + waiting * step_s)
        elif waiting < _LOOK_AHEAD and frame < last:
            repeated = False
        else:
            frame = anchors[-1] + 1
            anchors.append(frame)
            at_s.append(at_s[-1] + step_s)
            jumps += 1
            offset_s, repeated = at_s[-1] - float(stamps_s[frame]), True
        frame += 1
    times_s = np.interp(np.arange(len(stamps_s)), anchors, at_s)
    if not (np.diff(times_s) > 0).all():  # steps too small to be told apart
        return np.arange(len(stamps_s)) * step_s, step_s, jumps + 1
    return times_s, step_s, jumps


def _drop_spikes(anchors: list[int], at_s: list[float], frame: int, time_s: float, step_s: float) -> None:
    """Believe no longer the last few frames that claim to be shown after this one, if without them all is regular."""
    if time_s >= at_s[-1]:
        return
    for spikes in range(1, min(_MOST_SPIKES, len(anchors) - 1) + 1):
        if time_s - at_s[-1 - spikes] >= 0.9 * step_s * (frame - anchors[-1 - spikes]):
            del anchors[-spikes:], at_s[-spikes:]
            return
