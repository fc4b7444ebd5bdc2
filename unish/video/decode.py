"""The frames of a video file by number, each with its true time: the one place where videos are decoded.

The packets are read through first, without decoding, which tells number and time of every frame (`timeline`). Frames
that are wanted are then decoded from a key frame before them, however far that is.
"""

import contextlib
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from unish.errors import InputError
from unish.video.containers import (
    DECODER_ERRORS,
    WITHOUT_PRESENTATION_STAMPS,
    nominal_rate,
    open_video,
    reason,
    shown_path,
    stated_length_s,
    video_stream,
)
from unish.video.pixels import SourceFrame, deinterlaced, display_size, is_hdr, to_rgb
from unish.video.timeline import NO_STAMP, Packets, Timeline, timeline_of

_MOST_PACKETS = 2_000_000
"""Nine hours at 60 frames per second."""
_BEYOND = 32
"""Packets in a row past the part that is wanted, after which the rest of the file need not be read."""
_MOST_RESTARTS = 100
_WORTH_SEEKING = 48
"""A key frame that skips at least so many frames is sought; fewer are decoded on the way."""
_SEEKS_BACK = (0, 1, 4, 16)
"""Key frames before the right one that are tried, where seeking lands too late."""


@dataclass(frozen=True)
class VideoSource:
    """A video file, its packets read through: `frames` gives any of its frames."""

    path: Path
    timeline: Timeline
    length_s: float
    """From the first frame on, as the file states it; infinity where it does not, or was not read to its end."""
    size: tuple[int, int]
    """(width, height) as the stream states it, at square pixels, before it is turned."""
    warnings: tuple[str, ...]
    packets: Packets = field(repr=False)

    @staticmethod
    def open(path: Path, until_s: float = math.inf, fps: float | None = None) -> "VideoSource":
        """Read the packets of a file, as far as frames shown before `until_s` ask for.

        `fps` replaces the file's own time stamps by even times. Raises `InputError` for what is no video, and where
        there is no frame in it.
        """
        faults: list[str] = []
        with open_video(path) as container:
            stream = video_stream(container, path)
            whole = fps is not None or math.isinf(until_s)
            packets = _read_packets(container, stream, math.inf if whole else until_s, faults)
            length_s = stated_length_s(container, stream) if whole else math.inf
            size = display_size(stream.width or 0, stream.height or 0, stream.sample_aspect_ratio)
        timeline = timeline_of(packets)
        if not len(timeline):
            raise nothing_decoded(path, faults)
        if fps is not None:
            timeline, length_s = timeline.at_rate(fps), math.inf
        return VideoSource(path, timeline, length_s, size, tuple(_warnings(timeline)), packets)

    @property
    def times_s(self) -> np.ndarray:
        """Of every frame, by number, since the first."""
        return self.timeline.times_s

    @property
    def step_s(self) -> float:
        """The usual time between two frames."""
        return self.timeline.step_s

    def frames(self, numbers: Sequence[int], max_long_side_px: int, faults: list[str]) -> Iterator[SourceFrame]:
        """The frames of these rising numbers; one that cannot be decoded is replaced by the next one that can, and
        why is added to `faults`. The long side is at most `max_long_side_px`."""
        done = 0
        while done < len(numbers):
            # One run through the file; it ends early where a key frame far ahead saves decoding what lies between.
            with contextlib.closing(self._run(numbers[done], faults)) as run:
                for number, frame, aspect in run:
                    while done + 1 < len(numbers) and numbers[done + 1] <= number:
                        done += 1
                    if numbers[done] <= number:
                        done += 1
                        try:
                            rgb, size = to_rgb(frame, aspect, max_long_side_px)
                        except DECODER_ERRORS as error:
                            faults.append(reason(error))
                            if done == len(numbers):
                                break
                            continue
                        yield SourceFrame(number, float(self.times_s[number]), rgb, size, is_hdr(frame))
                    if done == len(numbers) or self._is_far(number, numbers[done]):
                        break
                else:
                    return

    def _is_far(self, number: int, wanted: int) -> bool:
        key = self.timeline.key_before(wanted)
        return key is not None and self.timeline.key_number(key) - number > _WORTH_SEEKING

    def _run(self, wanted: int, faults: list[str]) -> Generator[tuple[int, VideoFrame, Fraction | None]]:
        """Every frame from a key frame at or before `wanted` on: number, frame, and the aspect of its pixels."""
        key = self.timeline.key_before(wanted)
        with open_video(self.path) as container:
            stream = video_stream(container, self.path)
            packets = None if key is None else self._sought(container, stream, key, faults)
            if packets is not None:
                for number, frame in deinterlaced(self._numbered(packets, faults)):
                    yield number, frame, stream.sample_aspect_ratio
                return
        first = self.timeline.first_packet if key is None else int(self.timeline.key_packets[key])
        with open_video(self.path) as container:
            stream = video_stream(container, self.path)
            packets = islice(_demuxed(container, stream, faults), first, None)
            for number, frame in deinterlaced(self._numbered(packets, faults)):
                yield number, frame, stream.sample_aspect_ratio

    def _sought(
        self, container: InputContainer, stream: VideoStream, key: int, faults: list[str]
    ) -> Iterator[Packet] | None:
        """The packets from a key frame on, found by seeking; None where seeking does not find it."""
        timeline, places = self.timeline, self._places
        for back in _SEEKS_BACK:
            place = int(timeline.key_packets[max(0, key - back)])
            stamp = int(self.packets.dts[place] if self.packets.dts[place] != NO_STAMP else self.packets.pts[place])
            try:
                self._seek(container, stream, stamp)
            except DECODER_ERRORS:
                return None
            packets = _demuxed(container, stream, faults)
            for packet in packets:
                at = -1 if packet.pts is None else places.get(packet.pts, -1)
                if at == timeline.key_packets[key]:
                    return chain([packet], packets)
                if at > timeline.key_packets[key]:
                    break  # too far
        return None

    @staticmethod
    def _seek(container: InputContainer, stream: VideoStream, stamp: int) -> None:
        container.seek(stamp, stream=stream)

    @cached_property
    def _places(self) -> dict[int, int]:
        """Where the packet of a presentation stamp is in decoding order."""
        return {int(stamp): place for place, stamp in enumerate(self.packets.pts)}

    def _numbered(self, packets: Iterator[Packet], faults: list[str]) -> Iterator[tuple[int, VideoFrame]]:
        stamps, number = self.timeline.stamps, -1
        for frame in _decoded(packets, faults):
            if stamps is None:
                number += 1  # the decoder gives frames out in the order of showing; a lost one counts
            elif frame is not None:
                place = -1 if frame.pts is None else int(np.searchsorted(stamps, frame.pts))
                known = 0 <= place < len(stamps) and stamps[place] == frame.pts
                if not known and number < 0:
                    continue  # refers to frames before the key frame
                if known and place <= number:
                    continue
                number = place if known else number + 1
            if number >= len(self.timeline):
                return
            if frame is not None:
                yield number, frame


def nothing_decoded(path: Path, faults: list[str]) -> InputError:
    """What is to be said of a video without a single usable frame."""
    why = f" ({faults[0]})" if faults else ""
    return InputError(
        f"Expected a video with frames, but none of {shown_path(path)} can be decoded{why}; record or copy it again."
    )


def _warnings(timeline: Timeline) -> Iterator[str]:
    if timeline.jumps:
        yield ("The time stamps of the video jump; the frames after a jump were taken to follow on at the usual rate.")


def _read_packets(container: InputContainer, stream: VideoStream, until_s: float, faults: list[str]) -> Packets:
    tick_s = float(stream.time_base or Fraction(1, 90_000))
    pts, dts, key, shown, beyond, last = [], [], [], [], 0, math.inf
    hidden = _is_hidden_vp8 if stream.codec_context.name == "vp8" else lambda packet: False
    for packet in _demuxed(container, stream, faults):
        if packet.dts is None and packet.pts is None and packet.size == 0:
            continue  # the end
        if len(pts) == _MOST_PACKETS:
            raise InputError(
                f"{shown_path(Path(container.name))} has more than {_MOST_PACKETS} frames; cut it into shorter videos."
            )
        pts.append(NO_STAMP if packet.pts is None else packet.pts)
        dts.append(NO_STAMP if packet.dts is None else packet.dts)
        key.append(packet.is_keyframe)
        shown.append(packet.size > 0 and not packet.is_discard and not hidden(packet))
        if math.isfinite(until_s) and packet.pts is not None:
            last = min(last, pts[-1] + until_s / tick_s)
            beyond = beyond + 1 if pts[-1] > last else 0
            if beyond > _BEYOND:
                break
    return Packets(
        np.array(pts, np.int64),
        np.array(dts, np.int64),
        np.array(key, bool),
        np.array(shown, bool),
        tick_s,
        1 / nominal_rate(container, stream),
        bool(stream.codec_context.has_b_frames),
        container.format.name in WITHOUT_PRESENTATION_STAMPS,
    )


def _is_hidden_vp8(packet: Packet) -> bool:
    """A frame that others refer to and nobody sees (show_frame of the frame header, RFC 6386 section 9.1)."""
    return not memoryview(packet)[0] & 0x10


def _demuxed(container: InputContainer, stream: VideoStream, faults: list[str]) -> Iterator[Packet]:
    """The packets of a stream; where the file breaks off they end, and why is noted."""
    for _ in range(_MOST_RESTARTS):
        packets = container.demux(stream)
        try:
            yield from packets
        except IndexError:  # another stream appears midway: go on behind it
            continue
        except DECODER_ERRORS as error:
            faults.append(reason(error))
        return


def _decoded(packets: Iterator[Packet], faults: list[str]) -> Iterator[VideoFrame | None]:
    """Frames as the decoder gives them out, None for one that is damaged; what is wrong is noted."""
    for packet in packets:
        try:
            frames = packet.decode()
        except DECODER_ERRORS as error:
            faults.append(reason(error))
            yield None
            continue
        for frame in frames:
            if frame.is_corrupt:
                faults.append("damaged frames")
            yield None if frame.is_corrupt else frame  # type: ignore[misc]
