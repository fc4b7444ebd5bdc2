"""Photographs behind scenes, and what a phone does to an image beside that."""

import cv2
import numpy as np
import pytest

from train.synthetic import cameras
from train.synthetic.__main__ import main
from train.synthetic.assets import Assets
from train.synthetic.backdrops import Backdrop, BackdropLibrary
from train.synthetic.camera_effects import CameraEffects, roll_shutter, rolled_points_px, row_shifts_px
from train.synthetic.clips import generate_clip
from train.synthetic.motion_blur import blur_along, motion_field_px
from train.synthetic.painting import paint_backdrop
from unish.errors import InputError


def painted(backdrop: Backdrop, pose: np.ndarray, focal: float, width: int, height: int) -> np.ndarray:
    ids, skip = np.full((height, width), -1, np.int32), np.zeros((height, width), bool)
    out = np.zeros((height, width, 3), np.float32)
    rotation = np.ascontiguousarray(pose[:3, :3].T)
    paint_backdrop(ids, rotation, focal, focal, width / 2 - 0.5, height / 2 - 0.5, *backdrop.arguments(), skip, out)
    return out


def test_a_photograph_is_seen_upright_unmirrored_and_stays_where_it_is():
    rows, columns = np.mgrid[:200, :400]
    photo = np.stack([columns / 400, rows / 200, np.zeros((200, 400))], -1).astype(np.float32)
    # Its left edge lies at the bearing of +y, its middle (40 degrees on, clockwise) is looked at.
    backdrop = Backdrop(photo, float(-np.pi / 2), float(np.radians(80)), 0.5, False)
    gaze = np.radians(90 - 40)
    for aside in (0.0, np.radians(10)):
        target = np.array([[np.cos(gaze - aside), np.sin(gaze - aside), 0.0]])
        pose = cameras.look_at(np.zeros((1, 3)), target, np.zeros(1))[0]
        seen = painted(backdrop, pose, 200.0, 60, 40)
        np.testing.assert_allclose(seen[20, 30, 0], 0.5 + np.degrees(aside) / 80, atol=0.01)
        np.testing.assert_allclose(seen[20, 30, 1], 0.5, atol=0.01)
        assert (np.diff(seen[20, :, 0]) > 0).all() and (np.diff(seen[:, 30, 1]) > 0).all()


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> BackdropLibrary:
    folder = tmp_path_factory.mktemp("photos")
    photo = np.zeros((120, 160, 3), np.uint8)
    photo[..., 2] = 250  # red, as OpenCV writes it
    cv2.imwrite(str(folder / "red.png"), photo)
    return BackdropLibrary.of(folder)


def test_what_lies_behind_a_scene_has_no_depth(library):
    seen = 0
    for seed in range(8):
        clip = generate_clip(seed, frames=1, long_side_px=112, assets=Assets(backdrops=library))
        unknown = clip.depth_m[0] == 0
        red = (clip.images[0, ..., 0] > 2 * clip.images[0, ..., 1].astype(int) + 20) & unknown
        seen += red.mean() > 0.05
        assert (clip.person_mask[0][unknown] == 0).all()
    assert seen >= 2


def test_a_folder_without_images_is_an_input_error(tmp_path, capsys):
    with pytest.raises(InputError, match="--backdrops"):
        BackdropLibrary.of(tmp_path)
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(InputError, match=r"a\.png"):
        BackdropLibrary.of(tmp_path).draw(np.random.default_rng(0), 100.0)
    for flag in ("--motions", "--wardrobe", "--backdrops"):
        assert main(["--out", str(tmp_path / "data"), flag, str(tmp_path / "none")]) == 2
        assert capsys.readouterr().err.startswith(f"error: {flag}")


def test_a_rolling_shutter_moves_pixels_and_points_alike():
    images = np.zeros((2, 60, 80, 3), np.uint8)
    images[:, :, 38:42] = 255  # an upright pole
    mask = np.zeros((2, 60, 80), np.uint8)
    mask[:, 20:41, 38:42] = 1
    motion = np.tile([30.0, 0.0], (2, 1))  # to the right, at 10 frames a second, and 20 ms from top to bottom
    shifts = row_shifts_px(motion, 10.0, 0.02, 60)
    rolled, rolled_mask = roll_shutter(images, shifts, True), roll_shutter(mask, shifts, False)
    middle = [(rolled[0, row].mean(-1) * np.arange(80)).sum() / rolled[0, row].mean(-1).sum() for row in (0, 30, 59)]
    np.testing.assert_allclose(middle, [39.5 + 2.95, 39.5, 39.5 - 2.95], atol=0.1)
    assert set(np.unique(rolled_mask)) == {0, 1}
    points = np.array([[[[40.0, 0.5], [40.0, 30.0], [40.0, 59.5], [np.nan, np.nan]]]]).repeat(2, 1)
    moved = rolled_points_px(points, shifts)
    np.testing.assert_allclose(moved[0, 0, :3, 0], np.array(middle) + 0.5, atol=0.15)
    assert np.isnan(moved[0, 0, 3]).all()


def test_what_moves_is_blurred_along_its_own_way():
    """A wall four metres away and a person two metres away, before a camera that moves 0.2 m to the right per frame."""
    intrinsics = np.array([[100.0, 0, 40], [0, 100, 30], [0, 0, 1]])
    path = np.tile(np.eye(4), (3, 1, 1))
    path[:, 0, 3] = [0.0, 0.2, 0.4]
    depth, mask = np.full((3, 60, 80), 4.0, np.float32), np.zeros((3, 60, 80), np.uint8)
    mask[:, 20:50, 30:50] = 1
    joints = np.full((1, 3, 24, 2), np.nan, np.float32)
    joints[0, :, 0], joints[0, :, 1] = [[40, 25], [43, 25], [46, 25]], [[40, 45], [40, 55], [40, 65]]
    field = motion_field_px(depth, mask, joints, intrinsics, path)
    np.testing.assert_allclose(field[:, 5, 10], [[-5.0, 0]] * 3, atol=0.05)  # 100 * 0.2 / 4
    np.testing.assert_allclose(field[0, 25, 40], [3.0, 0.0], atol=0.1)
    np.testing.assert_allclose(field[0, 44, 40], [0.0, 10.0], atol=0.1)
    image = np.zeros((60, 80, 3), np.float32)
    image[:, 40:] = 1.0
    way = np.zeros((60, 80, 2), np.float32)
    np.testing.assert_array_equal(blur_along(image, way), image)
    way[30:, :, 0] = 8.0
    blurred = blur_along(image, way)
    np.testing.assert_array_equal(blurred[:30], image[:30])
    assert 0.2 < blurred[40, 38, 0] < 0.4 and blurred[40, 30, 0] == 0 and abs(blurred[40].mean() - 0.5) < 0.01


def test_hdr_lifts_shadows_and_holds_back_light():
    images = np.full((1, 64, 64, 3), 30, np.uint8)
    images[:, :, 32:] = 220
    plain = CameraEffects(drift=0, contrast=(0, 0), noise=(0, 0), sharpen=(0, 0), crf=(8, 8))
    tone = CameraEffects(drift=0, contrast=(0, 0), noise=(0, 0), sharpen=(0, 0), crf=(8, 8), hdr=(1.0, 1.0))
    before, after = (
        effects.apply(np.random.default_rng(0), images, np.zeros((1, 2)), 6.0).astype(int) for effects in (plain, tone)
    )
    assert after[0, :, :20].mean() > before[0, :, :20].mean() + 15
    assert after[0, :, 44:].mean() < before[0, :, 44:].mean() - 15


def test_the_world_of_phones_rolls_labels_along():
    still = generate_clip(3, frames=2, long_side_px=112, world="phone")
    assert still.clip_id.startswith("phone-")
    for person in range(still.people):
        x0, y0, x1, y1 = still.boxes_px[person, 0]
        rows, columns = np.nonzero(still.person_mask[0] == person + 1)
        if len(rows):
            assert columns.min() >= x0 - 3 and columns.max() <= x1 + 2 and rows.min() >= y0 - 3 and rows.max() <= y1 + 2
