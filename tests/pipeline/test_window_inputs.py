"""What the network is given of each window, made ahead or when it is asked for."""

import threading
import time

import numpy as np
import pytest
import torch

from tests.helpers.oracle import HEIGHT, PATCH, WIDTH, make_clip, make_track
from unish.pipeline.options import NetworkChoices
from unish.pipeline.window_inputs import prepared_windows
from unish.video.preprocess import crop_people, fit_frames, frame_transform, resize_frames, unit_images

WINDOWS = (range(6), range(4, 10), range(8, 14))


def made(ahead: bool, **choices):
    """The windows of a clip whose first person leaves after frame 5 and whose second comes back at 10."""
    clip = make_clip(14)
    tracks = (make_track(14, absent=tuple(range(6, 14))), make_track(14, absent=(7, 8, 9), person=2))
    frame = frame_transform(4 * WIDTH, 4 * HEIGHT, WIDTH, PATCH)
    images = np.zeros((14, HEIGHT, WIDTH, 3), np.uint8)
    return (
        clip,
        tracks,
        images,
        prepared_windows(clip, tracks, WINDOWS, frame, images, ahead=ahead, choices=NetworkChoices(**choices)),
    )


@pytest.mark.parametrize("ahead", [False, True])
def test_windows_hold_what_resizing_and_cropping_give(ahead):
    clip, tracks, images, windows = made(ahead)
    expected, frame = fit_frames(clip.frames, WIDTH, PATCH)
    for window, given in zip(WINDOWS, windows, strict=True):
        assert given.frames.tolist() == list(window)
        assert torch.equal(unit_images(given.images), expected[window.start : window.stop])
        assert given.here == ((0, 1) if window.start < 6 else (1,))
        for place, index in enumerate(given.here):
            track = tracks[index]
            shown = [
                min(np.flatnonzero(track.present), key=lambda seen, at=at: (abs(seen - at), seen)) for at in window
            ]
            assert torch.equal(given.crops[place], crop_people(clip.frames[shown], track.boxes_px[shown]))
            boxes = frame.map_boxes(torch.from_numpy(track.boxes_px[shown]).float())
            assert torch.equal(given.boxes[place], boxes)
    assert torch.equal(unit_images(images), expected)


def test_crops_of_the_networks_own_frames_and_of_wider_boxes():
    clip, (track, _), _, windows = made(False, crop_source="network", box_scale=1.2)
    frame = frame_transform(4 * WIDTH, 4 * HEIGHT, WIDTH, PATCH)
    boxes = frame.map_boxes(torch.from_numpy(track.boxes_px[:6]))
    first = next(windows)
    small = resize_frames(clip.frames[:6], frame)
    torch.testing.assert_close(first.crops[0], crop_people(small, boxes.numpy(), 1.2), atol=1e-6, rtol=0)
    assert torch.equal(first.boxes[0], boxes.float()), "boxes stay the person's"
    original = next(made(False, box_scale=1.2)[3]).crops[0]
    assert torch.equal(original, crop_people(clip.frames[:6], track.boxes_px[:6], 1.2))
    assert (original - first.crops[0]).abs().max() > 0.1, "sharper than the network's frames"


@pytest.mark.parametrize("ahead", [False, True])
def test_the_next_window_is_made_while_one_is_used_where_asked(ahead):
    images, windows = made(ahead)[2:]
    next(windows)
    until = time.monotonic() + (10 if ahead else 0.3)
    while not images[9].any() and time.monotonic() < until:
        time.sleep(0.01)
    assert images[9].any() == ahead
    assert not images[10:].any()  # one ahead, not more
    windows.close()


def test_breaking_off_leaves_no_thread():
    before = set(threading.enumerate())
    windows = made(ahead=True)[3]
    next(windows)
    windows.close()
    assert set(threading.enumerate()) == before


def test_a_window_without_anybody_has_no_crops():
    clip = make_clip(4)
    track = make_track(4, absent=(0, 1))
    frame = frame_transform(4 * WIDTH, 4 * HEIGHT, WIDTH, PATCH)
    images = np.zeros((4, HEIGHT, WIDTH, 3), np.uint8)
    first, second = prepared_windows(clip, (track,), (range(2), range(1, 4)), frame, images, ahead=True)
    assert first.here == () and first.crops.shape == (0, 2, 3, 256, 256)
    assert second.here == (0,)
