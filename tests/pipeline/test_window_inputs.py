"""What the network is given of each window, made ahead or when it is asked for."""

import dataclasses
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers.oracle import HEIGHT, PATCH, WIDTH, make_clip, make_track
from unish.models.config import MINI
from unish.pipeline import window_inputs as window_inputs_module
from unish.pipeline.options import NetworkChoices
from unish.pipeline.window_inputs import ClipInputs, prepare_windows
from unish.video.preprocess import crop_people, fit_frames, frame_transform, resize_frames, unit_images

SIZES = {"image_long_side_px": WIDTH, "patch_size": PATCH}
WINDOWS = (range(6), range(4, 10), range(8, 14))


def made(prefetched: bool, **choices):
    """The windows of a clip whose first person leaves after frame 5 and whose second comes back at 10."""
    clip = make_clip(14)
    tracks = (make_track(14, absent=tuple(range(6, 14))), make_track(14, absent=(7, 8, 9), person=2))
    return clip, tracks, prepare_windows(inputs_of(clip, tracks, WINDOWS, **choices), prefetched=prefetched)


def inputs_of(clip, tracks, windows, **choices) -> ClipInputs:
    """For a network that is never asked."""
    model = SimpleNamespace(config=SimpleNamespace(scene=dataclasses.replace(MINI.scene, **SIZES)))
    return ClipInputs.of(model, clip, tracks, windows, choices=NetworkChoices(**choices))


@pytest.mark.parametrize("prefetched", [False, True])
def test_windows_hold_what_resizing_and_cropping_give(prefetched):
    clip, tracks, windows = made(prefetched)
    expected, frame = fit_frames(clip.frames, WIDTH, PATCH)
    for frames, window in zip(WINDOWS, windows, strict=True):
        assert window.frames.tolist() == list(frames)
        assert torch.equal(unit_images(window.images), expected[frames.start : frames.stop])
        assert window.track_indices == ((0, 1) if frames.start < 6 else (1,))
        for row, index in enumerate(window.track_indices):
            track = tracks[index]
            nearest = [
                min(np.flatnonzero(track.present), key=lambda seen, at=at: (abs(seen - at), seen)) for at in frames
            ]
            assert torch.equal(window.crops[row], crop_people(clip.frames[nearest], track.boxes_px[nearest]))
            boxes = frame.map_boxes(torch.from_numpy(track.boxes_px[nearest]).float())
            assert torch.equal(window.boxes[row], boxes)


def test_crops_of_the_networks_own_frames_and_of_wider_boxes():
    clip, (track, _), windows = made(False, crop_source="network", box_scale=1.2)
    frame = frame_transform(4 * WIDTH, 4 * HEIGHT, WIDTH, PATCH)
    boxes = frame.map_boxes(torch.from_numpy(track.boxes_px[:6]))
    first = next(windows)
    small = resize_frames(clip.frames[:6], frame)
    torch.testing.assert_close(first.crops[0], crop_people(small, boxes.numpy(), 1.2), atol=1e-6, rtol=0)
    assert torch.equal(first.boxes[0], boxes.float()), "boxes stay the person's"
    original = next(made(False, box_scale=1.2)[2]).crops[0]
    assert torch.equal(original, crop_people(clip.frames[:6], track.boxes_px[:6], 1.2))
    assert (original - first.crops[0]).abs().max() > 0.1, "sharper than the network's frames"


@pytest.mark.parametrize("prefetched", [False, True])
def test_the_next_window_is_made_while_one_is_used_where_asked(prefetched, monkeypatch):
    resized = []

    def noted(frames, transform):
        resized.append(int(frames[0, 0, 0, 0]))
        return resize_frames(frames, transform)

    monkeypatch.setattr(window_inputs_module, "resize_frames", noted)
    clip = make_clip(14)
    clip.frames[:, 0, 0, 0] = np.arange(14)
    windows = prepare_windows(inputs_of(clip, (make_track(14),), WINDOWS), prefetched=prefetched)
    next(windows)
    until = time.monotonic() + (10 if prefetched else 0.3)
    while 9 not in resized and time.monotonic() < until:
        time.sleep(0.01)
    assert (9 in resized) == prefetched
    assert max(resized) < 10  # one ahead, not more
    windows.close()


def test_breaking_off_leaves_no_thread():
    before = set(threading.enumerate())
    windows = made(prefetched=True)[2]
    next(windows)
    windows.close()
    assert set(threading.enumerate()) == before


def test_a_window_without_anybody_has_no_crops():
    inputs = inputs_of(make_clip(4), (make_track(4, absent=(0, 1)),), (range(2), range(1, 4)))
    first, second = prepare_windows(inputs, prefetched=True)
    assert first.track_indices == () and first.crops.shape == (0, 2, 3, 256, 256)
    assert second.track_indices == (0,)
