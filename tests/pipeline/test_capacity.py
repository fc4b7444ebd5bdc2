"""How long a window may be, against memory counted tensor by tensor."""

import dataclasses

import pytest
import torch

from benchmarks.capacity import counted
from benchmarks.counting import counted_bytes
from unish.models.config import MINI, RELEASE
from unish.pipeline.capacity import USABLE_SHARE, frame_bytes, max_frames


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_model_lies_a_little_above_what_is_counted_at_release_size(dtype):
    (weights, few), (_, many) = counted(8, 1, dtype), counted(30, 1, dtype)
    assert weights == pytest.approx(1.637e9 * (2 if dtype == torch.bfloat16 else 4), rel=0.05)
    allowed = frame_bytes(RELEASE.scene, 518, 294, 1)
    assert 1 < allowed / ((many - few) / 22) < 1.45
    assert many - weights < 30 * allowed


def test_the_model_allows_for_people_of_small_networks():
    weights, peak = counted(30, 3, torch.float32, MINI, (168, 84))
    assert peak - weights < 30 * frame_bytes(MINI.scene, 168, 84, 3)


def test_counting_follows_tensors_to_their_end():
    with counted_bytes() as live:
        kept = torch.zeros(1000, 256)
        view = kept[10:]
        passing = kept + 1
        most = live.most
        del passing
    assert most == live.most == 2 * 1000 * 256 * 4
    assert live.now == 1000 * 256 * 4 and len(view) == 990


def test_more_memory_holds_more_frames_and_more_people_fewer():
    frame = frame_bytes(RELEASE.scene, 518, 294, 1)
    assert max_frames(RELEASE.scene, 518, 294, 1, int(30.5 * frame / USABLE_SHARE)) == 30
    assert max_frames(RELEASE.scene, 518, 294, 1, 0) == 0
    assert frame_bytes(RELEASE.scene, 518, 294, 3) > frame > frame_bytes(RELEASE.scene, 518, 98, 1)
    assert frame_bytes(dataclasses.replace(RELEASE.scene, width=2048), 518, 294, 0) > frame
