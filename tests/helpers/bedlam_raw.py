"""A clip written the way BEDLAM comes: the inverse of `train.data.prepare.bedlam`, from the format's description.

World axes: the clip's world has z up; BEDLAM's is Unreal's, x forward, y right, z up, left-handed, in centimetres.
"""

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import torch

from train.data.schema import ClipSample
from unish.geometry.rotations import matrix_to_axis_angle

SCENE = "20221013_3_250_batch01hand_orbit_bigOffice_6fps"
SENSOR_MM = (36.0, 20.25)
SKY_CM = 1e8
ACTOR_PARTS = ("body", "clothing", "hair")


def write_sequence(
    scene: Path, clip: ClipSample, sequence: str = "seq_000000", step: int = 5, person_masks: bool = True
) -> None:
    """Pictures, depth, masks and cameras of a sequence. Actors are numbered the other way round than people are."""
    folders = {name: scene / name / sequence for name in ("png", "depth", "masks")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for frame, image in enumerate(clip.images):
        stem = f"{sequence}_{frame * step:04d}"
        opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
        cv2.imwrite(str(folders["png"] / f"{stem}.png"), np.concatenate([image[..., ::-1], opaque], -1))
        depth_cm = np.where(clip.depth_m[frame] > 0, clip.depth_m[frame] * 100, SKY_CM).astype(np.float32)
        write_depth(folders["depth"] / f"{stem}_depth.exr", depth_cm)
        mask = clip.person_mask[frame]
        cv2.imwrite(str(folders["masks"] / f"{stem}_env.png"), np.where(mask == 0, 255, 0).astype(np.uint8))
        for person in range(clip.people if person_masks else 0):
            part_of = np.arange(mask.shape[0])[:, None] // 7 % len(ACTOR_PARTS)
            for index, part in enumerate(ACTOR_PARTS):
                pixels = (mask == person + 1) & (part_of == index)
                if pixels.any():
                    path = folders["masks"] / f"{stem}_{clip.people - 1 - person:02d}_{part}.png"
                    cv2.imwrite(str(path), pixels.astype(np.uint8) * 255)
    write_cameras(scene / "ground_truth" / "camera" / f"{sequence}_camera.csv", clip, sequence, step)


def write_depth(path: Path, depth_cm: np.ndarray) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"Depth": depth_cm}).write(str(path))


def write_cameras(path: Path, clip: ClipSample, sequence: str, step: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["name,x,y,z,yaw,pitch,roll,focal_length,sensor_width,sensor_height,hfov"]
    for frame, world_from_camera in enumerate(clip.world_from_camera.astype(np.float64)):
        # The clip's x, y, z (up) become Unreal's y, x, z (up): another hand, same up.
        right, down, forward = world_from_camera[[1, 0, 2], :3].T
        x, y, z = world_from_camera[[1, 0, 2], 3] * 100
        yaw, pitch = np.arctan2(forward[1], forward[0]), np.arcsin(forward[2])
        roll = np.arctan2(-right[2], -down[2])
        focal_mm = clip.intrinsics[frame, 0, 0] / clip.images.shape[2] * SENSOR_MM[0]
        hfov = 2 * np.degrees(np.arctan(SENSOR_MM[0] / 2 / focal_mm))
        numbers = [x, y, z, *np.degrees([yaw, pitch, roll]), focal_mm, *SENSOR_MM, hfov]
        lines.append(",".join([f"{sequence}_{frame * step:04d}.png", *(f"{number:.6f}" for number in numbers)]))
    path.write_text("\n".join(lines) + "\n")


def label_rows(
    clip: ClipSample,
    sequence: str = "seq_000000",
    step: int = 5,
    present: np.ndarray | None = None,
    subjects: tuple[str, ...] = ("rp_b_posed_002", "rp_a_posed_001", "rp_c_posed_003"),
    key_points: int = 45,
) -> dict[str, np.ndarray]:
    """Rows of a label file, person after person, for those (people, frames) that are `present`."""
    rng = np.random.default_rng(1)
    rows: dict[str, list] = {name: [] for name in _COLUMNS}
    for person in range(clip.people):
        for frame in range(clip.frames):
            if present is not None and not present[person, frame]:
                continue
            turns = matrix_to_axis_angle(torch.from_numpy(clip.body_rotations[person, frame]).double())
            x0, y0, x1, y1 = clip.boxes_px[person, frame]
            camera = np.eye(4)
            camera[:3, 3] = rng.normal((0, 0, 8))
            points = np.ones((key_points, 3))
            points[:24, :2] = clip.joints_px[person, frame]
            rows["imgname"].append(f"{sequence}/{sequence}_{frame * step:04d}.png")
            rows["center"].append([(x0 + x1) / 2, (y0 + y1) / 2])
            rows["scale"].append(max(x1 - x0, y1 - y0) / 200)
            rows["pose_cam"].append(turns.numpy().reshape(72))
            rows["shape"].append([*clip.betas[person], 0.1])
            rows["trans_cam"].append(clip.translation_camera[person, frame] - camera[:3, 3])
            rows["cam_ext"].append(camera)
            rows["cam_int"].append(clip.intrinsics[frame])
            rows["gtkps"].append(points)
            rows["sub"].append(subjects[person])
    return {name: np.array(values) for name, values in rows.items()}


def write_labels(path: Path, *rows: dict[str, np.ndarray]) -> None:
    """One label file of the rows of several sequences."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: np.concatenate([part[name] for part in rows]) for name in rows[0]})


_COLUMNS = ("imgname", "center", "scale", "pose_cam", "shape", "trans_cam", "cam_ext", "cam_int", "gtkps", "sub")
