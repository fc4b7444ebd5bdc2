"""A sequence of a benchmark with exact truth, and results that say the truth of it at any of its frames."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unish.body import BodyModel, move_translation
from unish.body.data import PARENTS
from unish.body.lbs import joint_transforms
from unish.evaluation.benchmark import BenchmarkSequence, TruePerson
from unish.geometry.rotations import axis_angle_to_matrix
from unish.structures import Cameras, Person, Provenance, Reconstruction

WIDTH, HEIGHT, FOCAL_PX = 64, 48, 60.0


@dataclass(frozen=True)
class TrueMotion:
    """One person: each joint turns at a constant rate, the body moves evenly. Metres, radians, world frame."""

    betas: Tensor
    rotations: Tensor
    translation: Tensor


@dataclass(frozen=True)
class TrueWorld:
    """What is true, in double precision."""

    name: str
    fps: float
    world_from_camera: Tensor
    depth_m: np.ndarray
    motions: tuple[TrueMotion, ...]
    body: BodyModel

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.world_from_camera)

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) pixels."""
        return np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])

    def joints(self, motion: TrueMotion) -> np.ndarray:
        """(frames, 24, 3) in the world."""
        _, places = joint_transforms(motion.rotations, self.body.rest_joints(motion.betas.float()).double(), PARENTS)
        return (places + motion.translation[:, None]).numpy()

    def vertices(self, motion: TrueMotion, frames: np.ndarray) -> np.ndarray:
        """(n, vertices, 3) in the world."""
        turns, places = motion.rotations[frames].float(), motion.translation[frames].float()
        return self.body(motion.betas.float().expand(len(frames), -1), turns, places).vertices.numpy()

    def boxes(self, person: int) -> np.ndarray:
        """(frames, 4) pixels; people stand side by side."""
        left = 4 + 20 * person + 0.1 * np.arange(self.frames)
        return np.stack([left, np.full_like(left, 8), left + 14, np.full_like(left, 44)], axis=-1)

    def sequence(self) -> BenchmarkSequence:
        """The truth as a reader gives it."""
        people = tuple(
            TruePerson(
                id=index + 1,
                boxes_px=self.boxes(index),
                present=np.ones(self.frames, bool),
                joints_world=self.joints(motion),
                vertices_world=lambda frame, motion=motion: self.vertices(motion, np.array([frame]))[0],
            )
            for index, motion in enumerate(self.motions)
        )
        return BenchmarkSequence(
            name=self.name,
            frames=self.frames,
            fps=self.fps,
            size_px=(WIDTH, HEIGHT),
            image=lambda frame: np.zeros((HEIGHT, WIDTH, 3), np.uint8),
            depth_m=lambda frame: self.depth_m[frame],
            world_from_camera=self.world_from_camera.numpy(),
            intrinsics=np.tile(self.intrinsics, (self.frames, 1, 1)),
            people=people,
            person_mask=lambda frame: self.mask(frame),
        )

    def mask(self, frame: int) -> np.ndarray:
        """(height, width): the people's boxes."""
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        for index in range(len(self.motions)):
            x0, y0, x1, y1 = self.boxes(index)[frame].astype(int)
            mask[y0:y1, x0:x1] = index + 1
        return mask

    def result(self, frames: np.ndarray | None = None) -> Reconstruction:
        """The truth of some frames (default: all) as a method would say it."""
        chosen = np.arange(self.frames) if frames is None else frames
        cameras = self.world_from_camera[chosen]
        return Reconstruction(
            images=np.zeros((len(chosen), HEIGHT, WIDTH, 3), np.uint8),
            depth_m=self.depth_m[chosen],
            confidence=np.ones((len(chosen), HEIGHT, WIDTH), np.float32),
            person_mask=np.stack([self.mask(frame) for frame in chosen]),
            cameras=Cameras(
                cameras.float().numpy(), np.tile(self.intrinsics, (len(chosen), 1, 1)).astype(np.float32), WIDTH, HEIGHT
            ),
            people=tuple(self._person(index, motion, chosen) for index, motion in enumerate(self.motions)),
            faces=self.body.faces.numpy().astype(np.int32),
            times_s=chosen / self.fps,
            fps=self.fps,
            world_up=np.float32([0, 0, 1]),
            provenance=Provenance("truth", "truth", "truth", "open", "cpu", 0, "0", 1.0, ("made of the truth",)),
        )

    def _person(self, index: int, motion: TrueMotion, frames: np.ndarray) -> Person:
        camera_from_world = torch.linalg.inv(self.world_from_camera[frames])
        turn, shift = camera_from_world[:, :3, :3], camera_from_world[:, :3, 3]
        pelvis = self.body.pelvis_offset(motion.betas.float()).double()
        rotations, translation = motion.rotations[frames], motion.translation[frames]
        in_camera = torch.cat([(turn @ rotations[:, 0])[:, None], rotations[:, 1:]], dim=1)
        return Person(
            id=index + 1,
            name=f"Person {index + 1}",
            present=np.ones(len(frames), bool),
            confidence=np.ones(len(frames), np.float32),
            boxes_px=self.boxes(index)[frames].astype(np.float32),
            betas=motion.betas.float().numpy(),
            body_rotations=in_camera.float().numpy(),
            translation_camera=move_translation(turn, shift, translation, pelvis).float().numpy(),
            root_rotation_world=rotations[:, 0].float().numpy(),
            translation_world=translation.float().numpy(),
            joints_world=self.joints(motion)[frames].astype(np.float32),
            vertices_world=self.vertices(motion, frames),
        )


def make_world(
    body: BodyModel, frames: int = 31, people: int = 2, fps: float = 30.0, turning: bool = True, name: str = "walk"
) -> TrueWorld:
    """People who walk evenly before a camera that slides, and turns about its height unless told not to."""
    generator = torch.Generator().manual_seed(5)
    time = torch.arange(frames, dtype=torch.float64) / fps
    cameras = torch.eye(4, dtype=torch.float64).repeat(frames, 1, 1)
    spin = torch.tensor([0.0, 0.4 if turning else 0.0, 0.0], dtype=torch.float64)
    cameras[:, :3, :3] = axis_angle_to_matrix(time[:, None] * spin)
    cameras[:, :3, 3] = time[:, None] * torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    cameras[:, 1, 3] += 0.1 * torch.sin(3 * time) if turning else 0.0
    motions = []
    for index in range(people):
        start = axis_angle_to_matrix(0.3 * torch.randn(24, 3, generator=generator, dtype=torch.float64))
        rate = 0.5 * torch.randn(24, 3, generator=generator, dtype=torch.float64)
        turns = start @ axis_angle_to_matrix(time[:, None, None] * rate)
        place = torch.tensor([index - 0.5, 0.2, 4.0], dtype=torch.float64)
        way = place + time[:, None] * torch.tensor([0.8, 0.0, 0.4], dtype=torch.float64)
        motions.append(TrueMotion(0.5 * torch.randn(10, generator=generator, dtype=torch.float64), turns, way))
    rows, columns = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    depth = np.stack([2 + 0.03 * rows + 0.02 * columns + 0.01 * frame for frame in range(frames)]).astype(np.float32)
    depth[:, :3] = 0
    return TrueWorld(name, fps, cameras, depth, tuple(motions), body)
