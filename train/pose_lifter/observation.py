"""How the bundled networks would see a body whose joints are known: keypoints and boxes, as wrong as theirs.

The numbers were read off the bundled keypoint network on rendered people: how sure it is of each keypoint, and how far
off it is for how sure it is.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from train.pose_lifter.performances import Performances
from unish.body.data import PARENTS, SMPL_LIMBS
from unish.body.lbs import joint_transforms
from unish.fitting.pose_lifter import Sighting, mirrored_pose
from unish.fitting.terms import box_heights
from unish.geometry.rotations import axis_angle_to_matrix
from unish.people.mini_keypoints import MIRRORED_KEYPOINTS

SURE = (0.6, 0.6, 0.6, 0.6, 0.6, 0.64, 0.63, 0.5, 0.5, 0.42, 0.43, 0.57, 0.57, 0.47, 0.47, 0.38, 0.38)
"""How sure the network is of each keypoint (the root of its confidence), at the median."""
LEAST_SURE = 0.2
"""Below it has no confidence."""
HEAD_TOP = 0.0, 0.19, 0.03
"""From the head's joint, metres."""
SOLE = 0.0, -0.06, -0.02
"""From ankles and balls of the feet."""
ARMS, LEGS = tuple(range(5, 11)), tuple(range(11, 17))
UPPER_BODY = (3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)


class Chance:
    """Random tensors from one generator."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator)

    def below(self, share: float, *shape: int) -> Bool[Tensor, "*shape"]:
        return self.uniform(*shape) < share

    def number(self, low: int, high: int, *shape: int) -> Int[Tensor, "*shape"]:
        return torch.randint(low, high, shape, generator=self.generator)

    def weighted(self, weights: Float[Tensor, "items"], count: int) -> Int[Tensor, "count"]:
        """So many of the items, with replacement."""
        return torch.multinomial(weights, count, replacement=True, generator=self.generator)


@dataclass(frozen=True)
class Seen:
    """A batch of performances as a camera sees them, before anything is wrong."""

    keypoints_px: Float[Tensor, "batch frames 17 2"]
    faces_camera: Bool[Tensor, "batch frames"]
    boxes_px: Float[Tensor, "batch frames 4"]
    rotations: Float[Tensor, "batch frames 24 3 3"]
    """The root's in the camera's frame."""
    rest_joints: Float[Tensor, "batch 24 3"]
    focal_px: Float[Tensor, "batch"]
    size_px: Float[Tensor, "batch 2"]
    times_s: Float[Tensor, "batch frames"]


def filmed(performances: Performances, face: Float[Tensor, "5 3"], chance: Chance, batch: int) -> Seen:
    """Some of the performances by one of their cameras; of three in ten, the upper body moves as somebody else's, and
    every pose is bent a little."""
    count, cameras = performances.camera_from_world.shape[:2]
    which, camera = chance.number(0, count, batch).numpy(), chance.number(0, cameras, batch).numpy()
    rotations = torch.from_numpy(performances.rotations[which])
    other = torch.from_numpy(performances.rotations[chance.number(0, count, batch).numpy()])
    mixed = rotations.clone()
    mixed[:, :, list(UPPER_BODY)] = other[:, :, list(UPPER_BODY)]
    rotations = torch.where(chance.below(0.3, batch, 1, 1, 1, 1), mixed, rotations) @ _bends(chance, batch)
    rest = torch.from_numpy(performances.rest_joints[which])
    orientations, joints = joint_transforms(rotations, rest[:, None], PARENTS)
    joints = joints - joints[:, :, :1] + torch.from_numpy(performances.pelvis_world[which])[:, :, None]
    camera_from_world = torch.from_numpy(performances.camera_from_world[which, camera])
    focal = torch.from_numpy(performances.focal_px[which, camera])
    size = torch.from_numpy(performances.size_px[which, camera])

    def fixed_to(joint: int, offsets: Tensor) -> Tensor:
        return joints[:, :, joint, None] + torch.einsum("btij,kj->btki", orientations[:, :, joint], offsets)

    def projected(points_world: Tensor) -> Tensor:
        in_camera = torch.einsum("btij,btkj->btki", camera_from_world[..., :3, :3], points_world)
        in_camera = in_camera + camera_from_world[:, :, None, :3, 3]
        slopes = in_camera[..., :2] / in_camera[..., 2:].clamp(min=0.3)
        return slopes * focal[:, None, None, None] + size[:, None, None] / 2

    soles = [fixed_to(joint, torch.tensor([SOLE])) for joint in (7, 8, 10, 11)]
    outline = projected(torch.cat([joints, fixed_to(15, torch.tensor([HEAD_TOP])), *soles], dim=2))
    low, high = outline.amin(2), outline.amax(2)
    margin = 0.02 * (high - low)[..., 1:]
    seen_root = rotations.clone()
    seen_root[:, :, 0] = camera_from_world[..., :3, :3] @ rotations[:, :, 0]
    ahead = torch.einsum("btij,btjk->btik", camera_from_world[..., :3, :3], orientations[:, :, 15])[..., 2, 2]
    return Seen(
        keypoints_px=projected(torch.cat([fixed_to(15, face), joints[:, :, list(SMPL_LIMBS)]], dim=2)),
        faces_camera=ahead < 0.2,
        boxes_px=torch.cat([low - margin, high + margin], dim=-1),
        rotations=seen_root,
        rest_joints=rest,
        focal_px=focal,
        size_px=size,
        times_s=torch.arange(rotations.shape[1]) / torch.from_numpy(performances.fps[which])[:, None],
    )


def _bends(chance: Chance, batch: int) -> Float[Tensor, "batch 1 24 3 3"]:
    """Small rotations, the same over a clip; none of the root's."""
    angles = 0.12 * chance.normal(batch, 1, 24, 3) * chance.uniform(batch, 1, 1, 1)
    angles[:, :, 0] = 0
    return axis_angle_to_matrix(angles)


def as_detected(seen: Seen, poses: Float[Tensor, "batch frames 24 3 3"], chance: Chance) -> Sighting:
    """What the bundled networks would make of it; `poses` are what the human branch guesses."""
    batch, frames = seen.keypoints_px.shape[:2]
    height = box_heights(seen.boxes_px)
    keypoints, confidence = _with_errors(seen, _sureness(seen, chance), height, chance)
    turned_round = _for_a_while(chance, batch, frames, 0.16, 1.2)
    for joints, taken in (
        (ARMS, _for_a_while(chance, batch, frames, 0.08)),
        (LEGS, _for_a_while(chance, batch, frames, 0.1)),
        (tuple(range(17)), turned_round),
    ):
        exchanged = taken[..., None] & _among(joints)
        keypoints = torch.where(exchanged[..., None], keypoints[:, :, list(MIRRORED_KEYPOINTS)], keypoints)
        confidence = torch.where(exchanged, 0.8 * confidence[:, :, list(MIRRORED_KEYPOINTS)], confidence)
    turned_round = turned_round & chance.below(0.7, batch, 1)
    poses = torch.where(turned_round[..., None, None, None], _seen_from_behind(poses), poses)
    confidence = torch.where(confidence < LEAST_SURE, 0.0, confidence**2 * 1.25).clamp(max=0.97)
    confidence = torch.where(chance.below(0.03, batch, frames, 1), 0.0, confidence)
    faceless = chance.below(0.35, batch, 1, 1) & _among(tuple(range(5)))  # rendered people have no face
    confidence = torch.where(faceless, 0.0, confidence)
    wrong = 0.02 * chance.normal(batch, 1, 4) + 0.015 * chance.normal(batch, frames, 4)
    most = torch.cat([seen.size_px, seen.size_px], dim=-1)[:, None]
    boxes = torch.minimum((seen.boxes_px + wrong * height[..., None]).clamp(min=0), most)
    boxes = torch.cat([boxes[..., :2], torch.maximum(boxes[..., 2:], boxes[..., :2] + 4)], dim=-1)
    return Sighting(
        keypoints_px=torch.cat([keypoints, confidence[..., None]], dim=-1),
        boxes_px=boxes,
        rotations=poses,
        focal_px=(seen.focal_px * torch.exp(0.2 * chance.normal(batch)))[:, None].expand(batch, frames),
        size_px=seen.size_px,
        times_s=seen.times_s,
    )


def _sureness(seen: Seen, chance: Chance) -> Float[Tensor, "batch frames 17"]:
    """How sure the network is; less of what is hidden for a while, beyond the image, or on the far side of the head."""
    batch, frames = seen.keypoints_px.shape[:2]
    logits = torch.tensor(SURE).logit() + 0.6 * (
        chance.normal(batch, 1, 1) + chance.normal(batch, 1, 17) + chance.normal(batch, frames, 17)
    )
    hidden = chance.below(0.1, batch, 1, 17) & chance.below(0.8, batch, frames, 17)
    hidden |= chance.below(0.06, batch, 1, 1) & _among(LEGS)
    beyond = ((seen.keypoints_px < 0) | (seen.keypoints_px > seen.size_px[:, None, None])).any(-1)
    sure = torch.sigmoid(logits - 2.5 * hidden - 4 * beyond)
    averted = ~seen.faces_camera[..., None] & chance.below(0.6, batch, 1, 1) & _among(tuple(range(5)))
    return torch.where(averted, 0.5 * sure * chance.uniform(batch, 1, 17), sure)


def _with_errors(
    seen: Seen, sure: Tensor, height: Tensor, chance: Chance
) -> tuple[Float[Tensor, "batch frames 17 2"], Float[Tensor, "batch frames 17"]]:
    """Keypoints beside where they belong, some on the other side's or anywhere."""
    batch, frames = seen.keypoints_px.shape[:2]
    spread = (0.17 * torch.exp(-2.9 * sure) * height[..., None])[..., None]
    beside = 0.5 * chance.normal(batch, 1, 17, 2) + 0.8 * chance.normal(batch, frames, 17, 2)
    anywhere = seen.keypoints_px + 0.22 * height[..., None, None] * chance.normal(batch, frames, 17, 2)
    other = seen.keypoints_px[:, :, list(MIRRORED_KEYPOINTS)]
    elsewhere = torch.where(chance.below(0.5, batch, frames, 17, 1), other, anywhere)
    lost = chance.uniform(batch, frames, 17) < 0.9 * torch.exp(-3.2 * sure) * chance.uniform(batch, 1, 1)
    return torch.where(lost[..., None], elsewhere, seen.keypoints_px) + spread * beside, sure


def _seen_from_behind(poses: Float[Tensor, "batch frames 24 3 3"]) -> Float[Tensor, "batch frames 24 3 3"]:
    """Who takes a back for a front sees about the same outline, and what is near is far."""
    mirrored = mirrored_pose(poses)
    root = torch.diag(torch.tensor([-1.0, 1.0, -1.0])) @ mirrored[:, :, :1]
    return torch.cat([root, mirrored[:, :, 1:]], dim=2)


def _for_a_while(
    chance: Chance, batch: int, frames: int, share: float, longest: float = 0.6
) -> Bool[Tensor, "batch frames"]:
    """In a share of the clips, some frames that follow one another, up to a part of the clip."""
    along = torch.arange(frames) / frames
    within = (chance.uniform(batch, 1) + along) % 1 < longest * chance.uniform(batch, 1)
    return chance.below(share, batch, 1) & within


def _among(keypoints: tuple[int, ...]) -> Bool[Tensor, "17"]:
    return torch.tensor([keypoint in keypoints for keypoint in range(17)])
