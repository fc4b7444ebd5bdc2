"""Long synthetic clips, and how far a result lies from their truth."""

from functools import cache

import numpy as np
import torch

from train.data.augment import take_frames
from train.data.schema import ClipSample
from train.data.sequences import seen_people, true_prediction
from train.synthetic.clips import generate_clip
from unish.body import open_body
from unish.geometry.alignment import umeyama
from unish.structures import Reconstruction


@cache
def two_people(frames: int = 90) -> ClipSample:
    """Two people who stay in the picture, filmed by a camera that walks about them."""
    return _filmed(910000047, frames)


@cache
def one_leaves_and_returns(frames: int = 90) -> ClipSample:
    """The second of two people is out of the picture for six seconds of fifteen."""
    return _filmed(910000051, frames)


def _filmed(seed: int, frames: int) -> ClipSample:
    return generate_clip(seed, frames=frames, people_count=2, long_side_px=168, camera="orbit", clear_view=True)


@cache
def there_and_back(frames: int = 90) -> ClipSample:
    """A clip that is played to its end and back to its beginning: the camera returns to where it was."""
    clip = generate_clip(910000003, frames=frames, people_count=2, long_side_px=168, camera="orbit")
    order = np.concatenate([np.arange(frames), np.arange(frames - 1, -1, -1)])
    clip = take_frames(clip, order)
    for number, image in enumerate(clip.images):  # no two frames alike, so that the oracle can tell them apart
        image[0, 0] = [number % 256, number // 256, 0]
    return clip


def true_joints(clip: ClipSample, person: int) -> np.ndarray:
    """(frames, 24, 3) of a person (index) in the clip's world, metres."""
    return true_prediction(clip, open_body()).people[person + 1].joints_world


def errors_m(found: Reconstruction, clip: ClipSample) -> tuple[np.ndarray, np.ndarray]:
    """How far (cameras, joints of seen people) lie from the truth once both worlds are put together by one rigid
    motion: no scale is fitted."""
    clip = take_frames(clip, np.arange(len(found)))
    seen = seen_people(clip)
    centres = [found.cameras.centers_world], [clip.world_from_camera[:, :3, 3]]
    for person in found.people:
        here = seen[person.id - 1]
        centres[0].append(person.joints_world[here].reshape(-1, 3))
        centres[1].append(true_joints(clip, person.id - 1)[here].reshape(-1, 3))
    source, target = (torch.from_numpy(np.concatenate(points).astype(np.float64)) for points in centres)
    _, rotation, translation = umeyama(source, target, with_scale=False)
    off = (source @ rotation.T + translation - target).norm(dim=-1).numpy()
    return off[: len(found)], off[len(found) :]


def up_error_deg(found: Reconstruction, clip: ClipSample) -> float:
    """The largest angle between the result's up and the true one, as the cameras see it."""
    ups = [np.swapaxes(c[:, :3, :3].astype(np.float64), 1, 2)[..., 2] for c in (
        found.cameras.world_from_camera, clip.world_from_camera[: len(found)])]  # fmt: skip
    return float(np.degrees(np.arccos(np.clip((ups[0] * ups[1]).sum(-1), -1, 1))).max())
