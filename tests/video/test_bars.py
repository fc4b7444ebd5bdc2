"""Black bars are found and left out, dark scenes are not; what refers to the source's pixels still does."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.helpers.posed import make_posed
from unish.export.colmap import write_colmap
from unish.export.source_mapping import content_of, original_frame
from unish.people.prompts import Box, BoxPrompts, MaskPrompts
from unish.pipeline import reconstruct
from unish.structures import Clip, Reconstruction
from unish.video.bars import content_box, without_bars
from unish.video.reader import read_clip

COUNT = 8


def scene(height: int = 96, width: int = 128) -> np.ndarray:
    """A textured image that moves."""
    random = np.random.default_rng(1)
    wide = random.integers(30, 230, (height // 8, width // 8 + COUNT, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    return np.stack([wide[:, 8 * k : 8 * k + width] for k in range(COUNT)])


def barred(frames: np.ndarray, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 12, (COUNT, 96 + top + bottom, 128 + left + right, 3)).astype(np.uint8)
    noise[:, top : top + 96, left : left + 128] = frames
    return noise


@pytest.mark.parametrize("bars", [(20, 20, 0, 0), (0, 0, 40, 40), (13, 14, 0, 0), (16, 16, 24, 24), (0, 0, 100, 100)])
def test_bars_are_found_to_the_pixel(bars):
    top, _, left, _ = bars
    assert content_box(barred(scene(), *bars)) == (left, top, left + 128, top + 96)


def dark_at_the_edges() -> np.ndarray:
    shade = np.clip(np.abs(np.linspace(-1, 1, 96)), 0, 1)
    return (scene() * (1 - shade)[:, None, None]).astype(np.uint8)


@pytest.mark.parametrize(
    "frames",
    [
        scene(),
        np.zeros((COUNT, 96, 128, 3), np.uint8),
        scene() // 12,
        dark_at_the_edges(),
        barred(scene(), top=20),
        barred(scene(), left=30, right=5),
        np.concatenate([scene()[:4], barred(scene(), 20, 20)[4:, 20:116] * 0]),
    ],
    ids=["none", "black", "night", "vignette", "one side", "unlike sides", "fades to black"],
)
def test_what_is_no_bar_stays(frames):
    assert content_box(frames) is None


def test_bars_of_a_part_of_the_clip_stay():
    frames = barred(scene(), 20, 20)
    frames[5] = np.random.default_rng(2).integers(0, 255, frames[5].shape)
    assert content_box(frames) is None


@pytest.fixture
def clip() -> Clip:
    frames = barred(scene(), 20, 20, 0, 0)
    return Clip(frames, np.arange(COUNT) / 6, 6.0, "letterbox.mp4", (256, 272), source_frames=tuple(range(COUNT)))


def test_the_clip_knows_what_it_shows(clip):
    cut = without_bars(clip)
    np.testing.assert_array_equal(cut.frames, scene())
    assert cut.source_size == (256, 272) and cut.content_size == (256, 192)
    assert cut.warnings == ("Black bars around the image were left out: 256×192 of 256×272 pixels were used.",)
    plain = dataclasses.replace(clip, frames=scene())
    assert without_bars(plain) is plain and plain.content_size == plain.source_size


def test_boxes_and_masks_are_those_of_the_source(clip, tmp_path):
    from PIL import Image

    cut = without_bars(clip)
    prompts = BoxPrompts.for_clip(cut, [Box(40, 60, 100, 200), Box(0, 0, 256, 272)])
    assert prompts.boxes_px[0] == pytest.approx((20, 10, 50, 80)) and prompts.boxes_px[1] == (0, 0, 128, 96)
    for number in range(COUNT):
        mask = np.zeros((272, 256), np.uint8)
        mask[60:200, 40:100] = 1
        Image.fromarray(mask).save(tmp_path / f"{number}.png")
    (track,) = MaskPrompts(tmp_path, cut.source_frames, cut.content_box).track(cut.frames)
    np.testing.assert_allclose(track.boxes_px[0], (20, 10, 50, 80), atol=0.6)


def with_content(content: tuple[float, ...]) -> Reconstruction:
    posed = make_posed(4, 1, height=56, width=84)
    return dataclasses.replace(posed, provenance=dataclasses.replace(posed.provenance, content_box=content))


def test_exports_lie_between_the_bars(tmp_path):
    import pycolmap
    from PIL import Image

    result = with_content((0.0, 0.2, 1.0, 0.8))
    saved = Reconstruction.load(result.save(tmp_path / "result"))
    assert saved.provenance.content_box == (0.0, 0.2, 1.0, 0.8)
    height = round(56 / 0.6 * 4)
    frames = np.full((4, height, 84 * 4, 3), 90, np.uint8)
    clip = Clip(frames, result.times_s, result.fps, "clip.mp4", (84 * 4, height))
    fit = original_frame(result.cameras, *clip.frame_size, content_of(result, clip))
    middle = fit.map_points(np.array([42.0, 28.0]))
    np.testing.assert_allclose(middle, [42 * 4, height / 2], atol=0.5)
    write_colmap(saved, tmp_path / "colmap", clip, max_points=50)
    model = pycolmap.Reconstruction(tmp_path / "colmap" / "sparse" / "0")
    assert (model.cameras[1].width, model.cameras[1].height) == clip.frame_size
    focal_px = float(result.cameras.intrinsics[0, 0, 0])
    np.testing.assert_allclose(model.cameras[1].params, [4 * focal_px, 4 * focal_px, 168, height / 2], rtol=0.01)
    mask = np.asarray(Image.open(tmp_path / "colmap" / "masks" / "frame_00000.png"))
    assert not mask[: height // 5 - 1].any() and not mask[-height // 5 + 1 :].any() and mask.any()


def test_a_letterboxed_film(cases_dir):
    clip = without_bars(read_clip(cases_dir / "clips" / "letterbox_sample.mp4"))
    whole = read_clip(cases_dir / "clips" / "cut_sample.mp4", end_s=2.9)
    assert clip.content_size[0] == 640 and clip.content_size[1] == pytest.approx(480, abs=4)
    assert min(clip.frames[:, row].mean() for row in (0, -1)) > 50, "a line of the bar is left"
    assert torch.allclose(torch.tensor(clip.frames[0].mean()), torch.tensor(whole.frames[0].mean()), atol=4)


def test_a_result_is_that_of_the_clip_without_bars(cases_dir):
    """Field of view, distance and camera path within 5 %."""
    values = []
    for name in ("camcorder_sample.ts", "letterbox_sample.mp4"):
        result = reconstruct(
            cases_dir / "clips" / name,
            weights="mini",
            body="open",
            finder="mini",
            device="cpu",
            fps=3,
            end_s=2.0,
            fit="off",
        )
        cameras = result.cameras
        path_m = np.linalg.norm(np.diff(cameras.centers_world, axis=0), axis=1).sum()
        distance_m = np.median(result.people[0].translation_camera[:, 2])
        values.append([cameras.intrinsics[0, 0, 0] / cameras.width_px, distance_m, path_m])
    np.testing.assert_allclose(values[1], values[0], rtol=0.05)
    assert result.provenance.content_box
