import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from unish.errors import InputError
from unish.geometry.camera import image_fit
from unish.video.preprocess import bbox_info, crop_people, fit_frames, frame_transform

sizes = st.integers(40, 2000)


@settings(deadline=None)
@given(sizes, sizes, st.sampled_from([(224, 14), (252, 14), (518, 14), (224, 16)]), st.integers(0, 2**31))
def test_transform_round_trips_and_keeps_the_aspect(width, height, grid, seed):
    long_side, patch = grid
    if max(width, height) / min(width, height) > long_side / patch:
        with pytest.raises(InputError, match="crop it first"):
            frame_transform(width, height, long_side, patch)
        return
    transform = frame_transform(width, height, long_side, patch)
    # The long side is the network's, the short side the nearest whole number of patches.
    size, source = np.array([transform.width_px, transform.height_px]), np.array([width, height])
    assert size.max() == long_side and (size % patch == 0).all()
    assert np.abs(size - long_side * source / source.max()).max() <= patch / 2 + 1e-9
    # One axis is shown whole; what overhangs along the other is cut evenly at both ends, and nothing is added.
    shown = transform.unmap_boxes(torch.tensor([0.0, 0.0, *size], dtype=torch.float64)).numpy()
    np.testing.assert_allclose(shown[:2] + shown[2:], source)
    assert shown.min() > -1e-6 and np.isclose(shown[2:] - shown[:2], source).any()
    center = transform.map_points(torch.tensor([width / 2, height / 2], dtype=torch.float64))
    np.testing.assert_allclose(center, [transform.width_px / 2, transform.height_px / 2], atol=1e-6)
    random = np.random.default_rng(seed)
    points = torch.from_numpy(random.uniform(-100, 3000, (5, 2)))
    torch.testing.assert_close(transform.unmap_points(transform.map_points(points)), points)
    boxes = torch.from_numpy(random.uniform(-100, 3000, (5, 4)))
    torch.testing.assert_close(transform.unmap_boxes(transform.map_boxes(boxes)), boxes)
    moved = transform.map_boxes(boxes)
    torch.testing.assert_close(moved[:, 2:] - moved[:, :2], (boxes[:, 2:] - boxes[:, :2]) * transform.scale)


@pytest.mark.parametrize(
    ("source", "network", "scaled"),
    [
        ((1920, 1080), (518, 294), (522.667, 294)),
        ((1080, 1920), (294, 518), (294, 522.667)),
        ((3840, 2160), (518, 294), (522.667, 294)),
        ((640, 480), (518, 392), (522.667, 392)),
        ((480, 640), (392, 518), (392, 522.667)),
        ((700, 700), (518, 518), (518, 518)),
        ((2560, 1080), (518, 224), (530.963, 224)),
        ((1920, 817), (518, 224), (526.414, 224)),
        ((48, 27), (518, 294), (522.667, 294)),
        ((40, 39), (518, 504), (518, 505.05)),
    ],
)
def test_sizes_are_those_that_the_released_network_saw(source, network, scaled):
    """The long side is 518 and the short side rounded to patches; the aspect is exact, the overhang is cut."""
    transform = frame_transform(*source, long_side_px=518, patch_size=14)
    assert (transform.width_px, transform.height_px) == network
    np.testing.assert_allclose(np.array(source) * transform.scale, scaled, atol=1e-3)
    fitted = (transform.scale, [transform.offset_x_px, transform.offset_y_px])
    assert fitted == (pytest.approx(image_fit(network, source)[0]), pytest.approx(image_fit(network, source)[1]))


@settings(max_examples=15, deadline=None)
@given(st.integers(90, 400), st.integers(90, 400), st.integers(0, 2**31))
def test_fitted_frames_show_a_disc_where_the_transform_says(width, height, seed):
    random = np.random.default_rng(seed)
    radius = min(width, height) / 6
    center = np.array([width, height]) * random.uniform(0.4, 0.6, 2)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    disc = ((x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2) * np.uint8(255)
    images, transform = fit_frames(np.repeat(disc[None, ..., None], 3, axis=-1), 168, 14)
    assert images.shape == (1, 3, transform.height_px, transform.width_px)
    assert images.min() >= 0 and images.max() <= 1
    weight = images[0, 0].double().numpy()
    y, x = np.mgrid[: transform.height_px, : transform.width_px] + 0.5
    found = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
    np.testing.assert_allclose(found, transform.map_points(torch.from_numpy(center)), atol=0.15)
    # A mask of the same disc, at another resolution, lands on it.
    mask = cv2.resize(disc, (width * 2, height * 2), interpolation=cv2.INTER_NEAREST)[None] > 0
    mapped = transform.map_masks(mask, (height, width))[0]
    assert ((weight > 0.5) != mapped).mean() < 0.01
    # A circle stays a circle: second moments along both axes agree.
    spread = [((axis - mean) ** 2 * weight).sum() / weight.sum() for axis, mean in zip((x, y), found, strict=True)]
    assert spread[0] == pytest.approx(spread[1], rel=0.05)


def test_fitting_a_fine_pattern_down_does_not_alias():
    stripes = np.zeros((1, 400, 600, 3), np.uint8)
    stripes[:, :, ::2] = 255
    images, _ = fit_frames(stripes, 84, 14)
    assert (images - 0.5).abs().max() < 0.05


def test_crops_match_the_reference(reference_dir):
    golden = load_file(reference_dir / "crops.safetensors")
    image = np.ascontiguousarray(golden["input.image"].transpose(0, 2, 3, 1))
    boxes = golden["input.boxes_xyxy_px"]
    crops = crop_people(np.repeat(image, 3, axis=0), boxes)
    np.testing.assert_allclose(crops.numpy(), golden["crops"].astype(np.float32), atol=5e-4)
    focal = torch.full((3,), 150.0)
    info = bbox_info(torch.from_numpy(boxes), focal, 168, 126) * 150.0
    np.testing.assert_allclose(info.numpy(), golden["bbox_info_times_focal_px"], atol=1e-4)


def test_uint8_frames_give_the_same_crop(textured_image):
    box = np.array([[30.0, 20.0, 150.0, 230.0]])
    as_float = crop_people(textured_image[None].astype(np.float32) / 255, box)
    torch.testing.assert_close(crop_people(textured_image[None], box), as_float, atol=1e-6, rtol=0)


@pytest.mark.parametrize("step", [1.0, 1.9, 2.5, 4.7, 8.0])
def test_large_crops_are_averaged_where_they_belong(step):
    """A smooth picture has the same crop whatever the reduction; a fine pattern becomes its mean."""
    side = step * 256
    height, width = 1200, 1600
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    smooth = np.stack([columns / width, rows / height, (columns + rows) / (width + height)], axis=-1)
    box = np.array([[803.3 - side / 6, 605.7 - side / 2, 803.3 + side / 6, 605.7 + side / 2]])
    crop = crop_people(smooth[None], box)[0]
    u = np.arange(256)
    x = 803.3 + (u - 128) * step
    inside = (x > 8) & (x < width - 10)
    middle = crop[0, 128].numpy()
    np.testing.assert_allclose(middle[inside], x[inside] / width, atol=2e-4)
    if step > 2:
        stripes = np.zeros((1, 2200, 2200, 3), np.uint8)
        stripes[:, :, ::2] = 255
        inner = crop_people(stripes, np.array([[1000.0, 60, 1200, 60 + side]]))[0, :, 2:-2, 2:-2]
        assert (inner - 0.5).abs().max() < 0.26  # far from the 0 and 1 of the stripes


def test_a_box_outside_the_image_is_black():
    frames = np.full((1, 50, 60, 3), 200, np.uint8)
    assert crop_people(frames, np.array([[500.0, 500, 600, 700]])).abs().max() == 0


def test_bbox_scale_widens_crop_and_info():
    boxes = torch.tensor([[10.0, 20, 50, 100]])
    info = bbox_info(boxes, torch.tensor([100.0]), 200, 100, bbox_scale=1.5)
    torch.testing.assert_close(info, torch.tensor([[-0.7, 0.1, 1.2]]))
    frames = np.zeros((1, 120, 120, 3), np.float32)
    cv2.circle(frames[0], (30, 60), 3, (1, 1, 1), -1)
    crop = crop_people(frames, boxes.double().numpy(), bbox_scale=1.5)
    assert crop[0, 0, 128, 128] == 1
