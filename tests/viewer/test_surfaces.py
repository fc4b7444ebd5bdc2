"""Depth maps as surfaces: what is cut and what is not, what is sent, and the scene without its people."""

import dataclasses
import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from scipy.ndimage import binary_dilation

from unish.structures import Clip
from unish.viewer import scene_arrays
from unish.viewer.background import background_layers, in_boxes
from unish.viewer.filling import background_filling, harmonic
from unish.viewer.frame_images import image_arrays
from unish.viewer.surfaces import (
    DEPTH_STEP,
    Surfaces,
    camera_rays,
    depth_codes,
    depth_planes,
    pack_cells,
    person_region,
    smooth_depth,
    surface_cells,
)

SHAPE = (48, 64)
LENS = np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
RAYS = camera_rays(LENS, SHAPE, (0, 0), 1)


def plane(normal: tuple[float, float, float], distance_m: float) -> np.ndarray:
    """Depth of the plane normal · x = distance, camera frame."""
    return distance_m / (RAYS @ (np.array(normal) / np.linalg.norm(normal)))


@pytest.mark.parametrize("normal", [(0, 0, 1), (0, 1, 0.35), (0.9, 0, 0.6)])
def test_planes_stay_whole_even_seen_from_the_side(normal):
    depth_m = plane(normal, 2.0)
    depth_m = np.where((depth_m > 0) & (depth_m < 40), depth_m, 0)
    inside = depth_m > 0
    cells = surface_cells(depth_m, RAYS)
    whole = inside[:-1, :-1] & inside[:-1, 1:] & inside[1:, :-1] & inside[1:, 1:]
    # Where the plane ends at the horizon its neighbours are unknown, which is an edge.
    away = ~np.pad(~whole, 3, mode="edge")
    away = np.min([away[i : i + whole.shape[0], j : j + whole.shape[1]] for i in range(7) for j in range(7)], axis=0)
    assert away.sum() > 300 and cells[away].mean() > 0.98


@pytest.mark.parametrize("smear_px", [1, 2, 4])
def test_the_sheet_between_a_person_and_the_wall_is_cut(smear_px):
    """However far the network smears it: no drawn cell is left between the two depths."""
    share = np.clip((np.arange(64) - 30) / smear_px, 0, 1)
    depth_m = np.tile(1 / ((1 - share) / 2.0 + share / 6.0), (48, 1))
    cells = surface_cells(depth_m, RAYS)
    between = (depth_m[:-1, :-1] < 5.4) & (depth_m[:-1, 1:] > 2.2)
    assert between.any() and not cells[between].any()
    assert cells[:, :26].all() and cells[:, 30 + smear_px + 6 :].all()


def test_unknown_depth_and_small_islands_are_no_surface():
    depth_m = np.full(SHAPE, 3.0)
    depth_m[10:20, 10:20] = 0
    depth_m[14:16, 14:16] = 3.0
    cells = surface_cells(depth_m, RAYS)
    assert not cells[9:20, 9:20].any() and cells[30:].all()


def test_smoothing_takes_the_ripple_and_keeps_the_edge():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    true = np.where(columns < 32, 2.0, 4.0)
    ripple = true * (1 + 0.02 * (-1.0) ** (rows + columns))
    smooth = smooth_depth(ripple, np.zeros(SHAPE, bool))
    assert np.abs(smooth / true - 1).max() < 0.007
    person = columns < 20
    step = np.where(person, 2.0, 2.1)
    np.testing.assert_allclose(smooth_depth(step, person), step, rtol=1e-5)


def test_a_person_takes_what_lies_beside_them_at_their_depth():
    depth_m, mask = np.full(SHAPE, 6.0), np.zeros(SHAPE, np.uint8)
    depth_m[10:40, 20:30] = 2.0
    mask[10:34, 20:30] = 3  # without the feet
    region = person_region(mask, depth_m)
    assert (region[10:40, 20:30] == 3).all() and not region[:, 36:].any() and not region[42:].any()


@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.one_of(st.just(0.0), st.floats(0.3, 80)),
    )
)
def test_depth_survives_the_way_it_is_sent(depth_m):
    near_m = float(depth_m[depth_m > 0].min()) if depth_m.any() else 1.0
    planes = depth_planes(depth_codes(depth_m, near_m)).astype(np.int64)
    folded = planes[:, 0] + 256 * planes[:, 1]
    codes = np.where(folded % 2, -(folded + 1) // 2, folded // 2).cumsum(-1) % 65536
    back = np.where(codes > 0, near_m * np.exp((codes - 1) * DEPTH_STEP), 0)
    np.testing.assert_allclose(back, depth_m, rtol=0.51 * DEPTH_STEP)


def test_cells_are_packed_row_by_row():
    cells = np.random.default_rng(0).random((2, 5, 7)) < 0.5
    packed = pack_cells(cells)
    for frame, row, column in np.ndindex(cells.shape):
        bit = 7 * row + column
        assert bool(packed[frame, bit // 8] >> (bit % 8) & 1) == cells[frame, row, column]


def test_the_background_shows_the_room_once_and_nobody(room):
    reconstruction = room(8, names=("A",))
    surfaces = Surfaces.of(reconstruction)
    background = background_layers(reconstruction, surfaces)
    assert len(set(background.frames)) == len(background.frames) >= 2
    shown = np.zeros(0)
    for frame, cells in zip(background.frames, background.cells, strict=True):
        people = surfaces.masks[frame] > 0
        touches = people[:-1, :-1] | people[:-1, 1:] | people[1:, :-1] | people[1:, 1:]
        assert not cells[touches].any()
        assert (cells <= surfaces.cells[frame]).all()
        shown = np.append(shown, cells.mean())
    assert shown[0] > 0.6 and shown[1:].sum() < 0.6, "layers after the first show what is new"
    # The wall behind the first frame's person is shown by another frame.
    behind = reconstruction.person_mask[background.frames[0]] > 0
    assert behind.any() and shown[1:].sum() > behind.mean()


def test_long_wide_depth_maps_are_thinned(room):
    reconstruction = room(1, names=(), height=120, width=640)
    surfaces = Surfaces.of(reconstruction)
    assert surfaces.depth_m.shape == (1, 40, 213) and surfaces.stride == 3 and surfaces.first_px == (1, 1)
    points = surfaces.points_camera(0, reconstruction.cameras.intrinsics[0].astype(np.float64))
    own = reconstruction.points_world(0)[1::3, 1::3]
    known = surfaces.depth_m[0] > 0
    assert np.abs(points[known] - own[known]).max() < 0.3 and np.median(np.abs(points[known] - own[known])) < 1e-3


def images_of(arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    start = arrays["images_start"]
    files = [arrays["images"][a:b].tobytes() for a, b in pairwise(start)]
    return [np.asarray(Image.open(io.BytesIO(file)).convert("RGB"), np.int16) for file in files]


def test_images_come_from_the_clip_where_it_is_there(room):
    """Its middle at the network's aspect, at the times of the result's frames."""
    reconstruction = room(3)
    times_s = np.arange(9) / 18  # three frames of the clip a frame of the result
    wide = np.zeros((9, 288, 512, 3), np.uint8)
    for k in range(9):
        wide[k, :, 64:448] = np.kron(reconstruction.images[k // 3], np.ones((3, 3, 1), np.uint8))
        wide[k, :, :64], wide[k, :, 448:] = 255, 255
        if k % 3:
            wide[k] = 0
    clip = Clip(wide, times_s, 18.0, "room.mp4", (512, 288))
    shown = images_of(image_arrays(reconstruction, clip)[0])
    assert [image.shape for image in shown] == 3 * [(288, 384, 3)]
    for image, own in zip(shown, reconstruction.images, strict=True):
        assert np.abs(image[1::3, 1::3] - own).mean() < 6
    small = images_of(image_arrays(reconstruction)[0])
    assert [image.shape for image in small] == 3 * [(96, 128, 3)]


def test_another_clip_is_noted_and_not_used(room):
    reconstruction = room(3)
    clip = Clip(np.zeros((2, 96, 128, 3), np.uint8), np.array([7.0, 8.0]), 1.0, "b.mp4", (128, 96))
    arrays, notes = image_arrays(reconstruction, clip)
    assert "clip that the result was made from" in notes[0]
    assert np.abs(images_of(arrays)[0] - reconstruction.images[0]).mean() < 6


def test_images_get_smaller_where_there_are_many(room, monkeypatch):
    reconstruction = dataclasses.replace(
        room(2), images=np.random.default_rng(0).integers(0, 255, (2, 96, 128, 3), np.uint8)
    )
    monkeypatch.setattr("unish.viewer.frame_images.MAX_TOTAL_BYTES", 12_000)
    monkeypatch.setattr("unish.viewer.frame_images.WIDTHS_PX", (128, 64))
    assert images_of(image_arrays(reconstruction)[0])[0].shape == (48, 64, 3)
    monkeypatch.setattr("unish.viewer.frame_images.MAX_TOTAL_BYTES", 100)
    assert scene_arrays(reconstruction, 500).arrays["images_start"].tolist() == [0, 0, 0]


def test_what_somebody_hides_all_the_time_is_filled_in_from_around(room):
    """A plane is continued exactly, under those who stand before it and nowhere else."""
    reconstruction = room(1, names=("A",))
    surfaces = Surfaces.of(reconstruction)
    filling = background_filling(reconstruction, surfaces, background_layers(reconstruction, surfaces))
    assert filling is not None
    mask = surfaces.masks[0] > 0
    somebody = mask[:-1, :-1] & mask[:-1, 1:] & mask[1:, :-1] & mask[1:, 1:]
    assert filling.cells[somebody].mean() > 0.95 and filling.cells.mean() < 0.5
    near = binary_dilation(somebody | in_boxes(reconstruction, surfaces, 0), np.ones((3, 3)), iterations=12)
    assert not filling.cells[~near].any() and (~near).any(), "nobody is there"
    assert (filling.depth_m[mask] > 1.2 * surfaces.depth_m[0][mask]).mean() > 0.9, "it lies behind them"

    seen = np.ones(SHAPE, bool)
    seen[12:40, 20:40] = False
    affine = np.stack([*np.meshgrid(np.arange(64.0), np.arange(48.0)), np.ones(SHAPE)], -1) @ [[0.1], [0.3], [2.0]]
    np.testing.assert_allclose(harmonic(np.where(seen[..., None], affine, 0), seen, ~seen), affine, rtol=1e-6)
    alone = np.zeros(SHAPE, bool)
    alone[2:4, 2:4] = True
    assert np.isnan(harmonic(affine, np.zeros(SHAPE, bool), alone)).all()


def test_where_nobody_stands_nothing_is_filled_in(room):
    reconstruction = room(1, names=())
    surfaces = Surfaces.of(reconstruction)
    assert background_filling(reconstruction, surfaces, background_layers(reconstruction, surfaces)) is None


@pytest.mark.parametrize("interval_s", [0.2, 3.0])
def test_who_is_missed_for_a_moment_does_not_become_part_of_the_room(room, interval_s):
    """One frame of five has neither person nor mask; what lies there is taken only if they may have been away."""
    reconstruction = room(5, names=("A",))
    person, masks = reconstruction.people[0], reconstruction.person_mask.copy()
    present = np.arange(5) != 2
    shown = Surfaces.of(reconstruction).masks[2] > 0
    rows, columns = np.nonzero(masks[2])
    boxes = np.tile([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], (5, 1))
    masks[2] = 0
    reconstruction = dataclasses.replace(
        reconstruction,
        times_s=interval_s * np.arange(5),
        person_mask=masks,
        people=(dataclasses.replace(person, present=present, boxes_px=boxes.astype(np.float32)),),
    )
    surfaces = Surfaces.of(reconstruction)
    background = background_layers(reconstruction, surfaces)
    inner = shown[:-1, :-1] & shown[:-1, 1:] & shown[1:, :-1] & shown[1:, 1:]
    drawn = sum(
        int((cells & inner).sum()) for f, cells in zip(background.frames, background.cells, strict=True) if f == 2
    )
    assert (drawn > 0) == (interval_s > 2)
