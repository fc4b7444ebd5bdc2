"""A result between its frames: cameras and people at any moment of the clip."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unish.geometry.rotations import slerp
from unish.structures import Cameras, Person


@dataclass(frozen=True)
class FrameTimes:
    """FrameTimes of a clip as places between a result's frames; before the first and after the last it stands still."""

    before: Int[Tensor, "moments"]
    after: Int[Tensor, "moments"]
    share: Float[Tensor, "moments"]
    """0 at the frame before, 1 at the one after."""

    @staticmethod
    def of(times_s: Float[np.ndarray, "moments"], frame_times_s: Float[np.ndarray, "frames"]) -> "FrameTimes":
        """Where `times_s` lie between the rising times of a result's frames."""
        frames = len(frame_times_s)
        place = np.interp(times_s, frame_times_s, np.arange(frames, dtype=np.float64))
        before = np.minimum(np.floor(place).astype(np.int64), max(0, frames - 2))
        after = np.minimum(before + 1, frames - 1)
        return FrameTimes(torch.from_numpy(before), torch.from_numpy(after), torch.from_numpy(place - before))

    @property
    def nearest(self) -> Int[np.ndarray, "moments"]:
        """The result's frame nearest to each moment."""
        return torch.where(self.share > 0.5, self.after, self.before).numpy()

    def blend(self, values: Float[np.ndarray, "frames *rest"]) -> Float[Tensor, "moments *rest"]:
        """Values of the frames, linearly in between."""
        known = torch.from_numpy(np.asarray(values, np.float64))
        share = self.share.reshape(-1, *[1] * (known.ndim - 1))
        return torch.lerp(known[self.before], known[self.after], share)

    def turn(self, rotations: Float[np.ndarray, "frames *rest 3 3"]) -> Float[Tensor, "moments *rest 3 3"]:
        """Rotations of the frames, at constant speed in between."""
        known = torch.from_numpy(np.asarray(rotations, np.float64))
        start, end = known[self.before], known[self.after]
        share = self.share.reshape(-1, *[1] * (known.ndim - 3)).expand(start.shape[:-2])
        return slerp(start, end, share)


@dataclass(frozen=True)
class Motion:
    """A person's SMPL parameters at some moments; shape is `Person.betas`."""

    rotations: Float[Tensor, "moments 24 3 3"]
    """Index 0: the root's orientation in the frame of `translation`."""
    translation: Float[Tensor, "moments 3"]
    """SMPL's `transl`, metres."""


def motion_world(person: Person, at: FrameTimes) -> Motion:
    """The person's motion in the world."""
    root = at.turn(person.root_rotation_world)
    return Motion(
        torch.cat([root[:, None], at.turn(person.body_rotations[:, 1:])], dim=1), at.blend(person.translation_world)
    )


def motion_camera(person: Person, at: FrameTimes) -> Motion:
    """The person's motion in the camera's frame of each moment."""
    return Motion(at.turn(person.body_rotations), at.blend(person.translation_camera))


def seen_at(person: Person, at: FrameTimes) -> Bool[np.ndarray, "moments"]:
    """Whether the person is seen: in both frames around a moment, or in the one that it falls on."""
    present = np.asarray(person.present)
    before, after, share = at.before.numpy(), at.after.numpy(), at.share.numpy()
    return (present[before] | (share == 1)) & (present[after] | (share == 0))


def cameras_at(cameras: Cameras, at: FrameTimes) -> Cameras:
    """The camera at each moment: turned at constant speed, moved and zoomed linearly."""
    poses = np.tile(np.eye(4, dtype=np.float32), (len(at.share), 1, 1))
    poses[:, :3, :3] = at.turn(cameras.world_from_camera[:, :3, :3]).numpy()
    poses[:, :3, 3] = at.blend(cameras.world_from_camera[:, :3, 3]).numpy()
    intrinsics = at.blend(cameras.intrinsics).numpy().astype(np.float32)
    return Cameras(poses, intrinsics, cameras.width_px, cameras.height_px)
