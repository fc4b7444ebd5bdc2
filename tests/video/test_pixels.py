"""Fields become full frames; colours follow the matrix that a file states, or that players assume."""

from fractions import Fraction

import av
import numpy as np
import pytest

from unish.video.pixels import deinterlaced, to_rgb
from unish.video.reader import read_clip

WIDTH, HEIGHT = 128, 96


def bar_at(x: float) -> np.ndarray:
    """A white bar of 24 pixels on grey."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[:, round(x) : round(x) + 24] = 230
    return image


def interlaced(step_px: float, count: int) -> list[np.ndarray]:
    """Frames whose odd rows are of one moment and whose even rows of the next: bottom field first."""
    frames = []
    for number in range(count):
        frame = bar_at(2 * number * step_px)
        frame[::2] = bar_at((2 * number + 1) * step_px)[::2]
        frames.append(frame)
    return frames


def combing(frame: np.ndarray) -> float:
    """How much rows differ from the mean of their neighbours."""
    rows = frame.astype(float)
    return float(np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean())


@pytest.fixture
def interlaced_clip(tmp_path):
    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "8", "x264-params": "interlaced=1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for image in interlaced(3, 14):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def test_interlaced_footage_is_deinterlaced(interlaced_clip):
    with av.open(str(interlaced_clip)) as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    clip = read_clip(interlaced_clip, fps=25)
    assert len(clip) == len(raw) == 14 and clip.source_frames == tuple(range(14))
    assert combing(raw[6]) > 5 and max(combing(frame) for frame in clip.frames[1:-1]) < 2
    for number in range(2, 12):  # each is of the moment of its first field
        left = np.flatnonzero(clip.frames[number][HEIGHT // 2, :, 0] > 145)[0]
        assert left == pytest.approx(6 * number, abs=2)


def test_progressive_frames_are_untouched():
    frames = [av.VideoFrame.from_ndarray(bar_at(5 * number), format="rgb24") for number in range(5)]
    through = list(deinterlaced(iter(enumerate(frames))))
    assert [number for number, _ in through] == list(range(5))
    assert all(given is frame for given, (_, frame) in zip(frames, through, strict=True))


@pytest.mark.parametrize(
    "size, stated, matrix",
    [((1280, 720), None, 1), ((720, 576), None, 5), ((320, 240), None, 5), ((320, 240), 1, 1), ((1280, 720), 5, 5)],
)
def test_the_colour_matrix_is_the_stated_one_or_that_of_players(size, stated, matrix):
    color = (200, 40, 60)
    image = np.full((size[1], size[0], 3), color, np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p", dst_colorspace=matrix)
    frame.colorspace = 2 if stated is None else stated
    rgb, shown = to_rgb(frame, None, 4000)
    assert shown == size
    np.testing.assert_allclose(rgb[10, 10], color, atol=4)


def test_pixels_that_are_not_square():
    frame = av.VideoFrame.from_ndarray(bar_at(30), format="rgb24")
    rgb, size = to_rgb(frame, Fraction(3, 2), 4000)
    assert size == (192, 96) and rgb.shape == (96, 192, 3)
