"""Each filter rejects what it is for, and nothing else."""

import dataclasses

import numpy as np
import pytest

from train.data.prepare.filters import REASONS, FilterConfig, check_filters, reason_against
from unish.errors import InputError
from unish.structures import PersonTrack

HEIGHT, WIDTH, FRAMES = 240, 320, 20
CONFIG = FilterConfig()


def walker(box=(100, 60, 150, 200), step_px: float = 3.0, with_masks: bool = True) -> PersonTrack:
    """Somebody who walks to the right."""
    boxes = np.array(box, float) + step_px * np.arange(FRAMES)[:, None] * [1, 0, 1, 0]
    masks = np.zeros((FRAMES, HEIGHT // 2, WIDTH // 2), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (boxes / 2).round().astype(int), strict=True):
        mask[max(y0, 0) : y1, max(x0, 0) : x1] = True
    return PersonTrack(1, boxes, np.ones(FRAMES, bool), np.ones(FRAMES), masks if with_masks else None)


def seen_in(track: PersonTrack, present: np.ndarray) -> PersonTrack:
    return dataclasses.replace(track, present=present)


def reason(*tracks: PersonTrack, config: FilterConfig = CONFIG, fps: float = 6.0) -> str | None:
    return reason_against(tracks, (HEIGHT, WIDTH), fps, 6.0, config)


@pytest.mark.parametrize("with_masks", [True, False])
def test_one_whole_person_passes(with_masks):
    assert reason(walker(with_masks=with_masks)) is None


def test_people_are_counted():
    assert reason() == "nobody"
    pair = (walker(), walker(box=(40, 60, 80, 200)))
    assert reason(*pair) == "several_people"
    assert reason(*pair, config=FilterConfig(people_max=2)) is None
    assert reason(pair[0], walker(box=(40, 60, 44, 64)), config=FilterConfig(people_max=2)) == "too_small"


def test_slow_videos_are_rejected():
    assert reason(walker(), fps=5.0) is None
    assert reason(walker(), fps=1.0) == "slow"


def test_absence():
    present = np.ones(FRAMES, bool)
    present[3:5] = False
    assert reason(seen_in(walker(), present)) is None
    present[12] = False
    assert reason(seen_in(walker(), present)) == "absent"


def test_size():
    assert reason(walker(box=(100, 100, 130, 150))) == "too_small"  # 50 of 240 rows
    thin = walker()
    masks = thin.masks.copy()
    masks[:, :, ::2], masks[:, ::2], masks[:, 40:] = False, False, False
    assert reason(dataclasses.replace(thin, masks=masks)) == "too_small"


def test_truncation():
    assert reason(walker(box=(100, 60, 150, 240), step_px=0)) == "truncated"  # feet below the picture
    assert reason(walker(box=(-10, 60, 40, 200), step_px=0, with_masks=False)) == "truncated"
    leaving = walker(box=(250, 60, 300, 200), step_px=1.0)
    assert reason(leaving) is None
    assert reason(walker(box=(250, 60, 300, 200), step_px=2.0)) == "truncated"
    touching = walker()
    masks = touching.masks.copy()
    masks[:5, -1, 60] = True  # the mask reaches the border where the box does not
    assert reason(dataclasses.replace(touching, masks=masks)) == "truncated"


def test_jumps():
    track = walker()
    boxes = track.boxes_px.copy()
    boxes[10:] += [90, 0, 90, 0]
    moved = dataclasses.replace(track, boxes_px=np.minimum(boxes, [310, 240, 312, 240]), masks=None)
    assert reason(moved) == "jump"
    grown = track.boxes_px.copy()
    grown[10:, 1] += 70
    assert reason(dataclasses.replace(track, boxes_px=grown, masks=None)) == "jump"
    assert reason(walker(step_px=6.0)) is None


def test_every_reason_is_explained_and_thresholds_are_checked():
    assert set(REASONS) == {
        "too_short", "slow", "nobody", "several_people", "absent", "too_small", "truncated", "jump"
    }  # fmt: skip
    check_filters(CONFIG)
    for wrong in ({"people_max": 0}, {"border_share": 1.5}, {"most_growth": 0.5}, {"most_step": 0}):
        with pytest.raises(InputError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            check_filters(FilterConfig(**wrong))
