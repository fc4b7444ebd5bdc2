"""EMDB, 3DPW and RICH as they are after unpacking, with made-up bodies in SMPL's and SMPL-X's formats."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from smplx.lbs import lbs

from tests.body.bodies import made_up_arrays
from tests.helpers.benchmarks import scene

SEED_OF = {"female": 1, "male": 2, "neutral": 3}
SMPLX_VERTICES, SMPLX_JOINTS = 60, 55


def install_bodies(home: Path, genders: tuple[str, ...] = ("female", "male", "neutral")) -> None:
    """Bodies of 40 vertices, each gender another, where `$UNISH_HOME` is `home`."""
    (home / "bodies").mkdir(parents=True)
    for gender in genders:
        np.savez(home / "bodies" / f"smpl_{gender}.npz", **smpl_arrays(gender))


def smpl_arrays(gender: str) -> dict[str, Any]:
    arrays = made_up_arrays(seed=SEED_OF[gender])
    return {**arrays, "v_template": arrays["v_template"] * 0.3}


def motion(frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A person who stands some 4 m before the scene's cameras and waves."""
    rng = np.random.default_rng(seed)
    return {
        "betas": rng.normal(size=10),
        "pose": rng.normal(size=(frames, 72)) * 0.4,
        "trans": np.array([0.1, 0.0, 4.0]) + rng.normal(size=(frames, 3)) * 0.05,
    }


def posed_by_smplx(gender: str, betas: np.ndarray, pose: np.ndarray, trans: np.ndarray) -> tuple[np.ndarray, ...]:
    """Vertices and joints as the package smplx poses them, in double precision."""
    vertices, joints = _lbs(smpl_arrays(gender), np.tile(betas, (len(pose), 1)), pose)
    return vertices + trans[:, None], joints + trans[:, None]


def _lbs(arrays: dict[str, Any], betas: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parents = torch.tensor(arrays["kintree_table"][0].astype(np.int64))
    parents[0] = -1

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.asarray(values, np.float32).astype(np.float64))

    posedirs = tensor(arrays["posedirs"])
    vertices, joints = lbs(
        torch.tensor(betas), torch.tensor(pose), tensor(arrays["v_template"])[None], tensor(arrays["shapedirs"]),
        posedirs.reshape(-1, posedirs.shape[-1]).T, tensor(arrays["J_regressor"]), parents, tensor(arrays["weights"]),
    )  # fmt: skip
    return vertices.numpy(), joints.numpy()


def seen_px(points_world: np.ndarray, world_from_camera: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels of points (…, 3) through one camera, by the textbook."""
    camera = (
        np.concatenate([points_world, np.ones_like(points_world[..., :1])], -1) @ np.linalg.inv(world_from_camera).T
    )
    image = camera[..., :3] @ intrinsics.T
    return image[..., :2] / image[..., 2:]


# --- EMDB ----------------------------------------------------------------------------------------------------------

EMDB_FRAMES = 5
EMDB_GOOD = np.array([True, True, False, True, True])


def write_emdb(root: Path) -> None:
    """17 sequences of EMDB-1 and 25 of EMDB-2, three of them in both, and one of neither."""
    pictures = [scene.encoded(scene.rgb(frame), "JPEG") for frame in range(EMDB_FRAMES)]
    for number in range(40):
        name = f"P{number // 5}/{number:02d}_outdoor_walk"
        labels = emdb_labels(number)
        scene.write(root / name / f"{name.replace('/', '_')}_data.pkl", pickle.dumps(labels))
        for frame, content in enumerate(pictures):
            scene.write(root / name / "images" / f"{frame:05d}.jpg", content)


def emdb_labels(number: int) -> dict[str, Any]:
    moves = motion(EMDB_FRAMES, seed=number)
    boxes = np.tile([10.0, 5.0, 30.0, 34.0], (EMDB_FRAMES, 1)) + np.arange(EMDB_FRAMES)[:, None]
    boxes[2] = 0
    return {
        "gender": ("female", "male", "neutral")[number % 3],
        "name": f"P{number // 5}_{number:02d}_outdoor_walk",
        "emdb1": number < 17,
        "emdb2": np.bool_(14 <= number < 39),
        "n_frames": EMDB_FRAMES,
        "good_frames_mask": EMDB_GOOD,
        "camera": {
            "intrinsics": scene.intrinsics(),
            "extrinsics": np.linalg.inv(scene.cameras(EMDB_FRAMES)),
            "width": scene.WIDTH,
            "height": scene.HEIGHT,
        },
        "smpl": {
            "poses_root": moves["pose"][:, :3].astype(np.float32),
            "poses_body": moves["pose"][:, 3:].astype(np.float32),
            "trans": moves["trans"].astype(np.float32),
            "betas": moves["betas"].astype(np.float32),
        },
        "kp2d": np.zeros((EMDB_FRAMES, 24, 2)),
        "bboxes": {"bboxes": boxes, "invalid_idxs": np.array([2])},
    }


# --- 3DPW ----------------------------------------------------------------------------------------------------------

THREEDPW_FRAMES = 4
THREEDPW_VALID = (np.array([1, 1, 1, 1]), np.array([0, 1, 0, 1]))


def write_threedpw(root: Path) -> None:
    """24 test sequences of two people, of whom the second is lost in two frames, and one of the training split."""
    pictures = [scene.encoded(scene.rgb(frame), "JPEG") for frame in range(THREEDPW_FRAMES)]
    for number in range(25):
        split, name = ("test" if number < 24 else "train"), f"downtown_{number:02d}"
        scene.write(root / "sequenceFiles" / split / f"{name}.pkl", pickle.dumps(threedpw_labels(number), protocol=2))
        for frame, content in enumerate(pictures):
            scene.write(root / "imageFiles" / name / f"image_{frame:05d}.jpg", content)


def threedpw_labels(number: int) -> dict[str, Any]:
    people = [motion(THREEDPW_FRAMES, seed=100 * person + number) for person in (1, 2)]
    return {
        "sequence": f"downtown_{number:02d}",
        "betas": [people[0]["betas"], np.concatenate([people[1]["betas"], np.ones(290)])],
        "poses": [person["pose"] for person in people],
        "trans": [person["trans"] for person in people],
        "poses_60Hz": [np.zeros((2 * THREEDPW_FRAMES, 72))] * 2,
        "v_template_clothed": [np.zeros((40, 3))] * 2,
        "genders": ["f", "m"],
        "poses2d": [np.zeros((THREEDPW_FRAMES, 3, 18))] * 2,
        "jointPositions": [np.zeros((THREEDPW_FRAMES, 72))] * 2,
        "img_frame_ids": np.arange(THREEDPW_FRAMES) * 2,
        "cam_poses": np.linalg.inv(scene.cameras(THREEDPW_FRAMES)),
        "campose_valid": list(THREEDPW_VALID),
        "cam_intrinsics": scene.intrinsics(),
    }


# --- RICH ----------------------------------------------------------------------------------------------------------

RICH_NUMBERS = ("00004", "00005", "00010")


def smplx_arrays(gender: str) -> dict[str, Any]:
    """A body of 60 vertices and 55 joints, with 300 + 100 directions as the official files have."""
    rng = np.random.default_rng(SEED_OF[gender])
    weights, regressor = rng.random((SMPLX_VERTICES, SMPLX_JOINTS)), rng.random((SMPLX_JOINTS, SMPLX_VERTICES))
    parents = np.array([2**32 - 1, *(max(0, joint - 1 - joint % 3) for joint in range(1, SMPLX_JOINTS))], np.uint32)
    return {
        "v_template": rng.normal(size=(SMPLX_VERTICES, 3)) * 0.3,
        "shapedirs": rng.normal(size=(SMPLX_VERTICES, 3, 400)) * 0.01,
        "posedirs": rng.normal(size=(SMPLX_VERTICES, 3, 486)) * 0.001,
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(SMPLX_JOINTS, dtype=np.uint32)]),
        "hands_componentsl": rng.normal(size=(45, 45)) * 0.1,
        "hands_componentsr": rng.normal(size=(45, 45)) * 0.1,
        "hands_meanl": rng.normal(size=45) * 0.2,
        "hands_meanr": rng.normal(size=45) * 0.2,
        "f": rng.integers(0, SMPLX_VERTICES, (30, 3)).astype(np.uint32),
        "part2num": np.array({"head": 15}, object),
    }


def smpl_from_smplx() -> np.ndarray:
    """A row picks or mixes a few vertices of the 60 (the columns behind them are for normals)."""
    rng = np.random.default_rng(9)
    matrix = np.zeros((40, 2 * SMPLX_VERTICES))
    for row in range(40):
        matrix[row, rng.choice(SMPLX_VERTICES, 3, replace=False)] = [0.5, 0.3, 0.2]
    return matrix


def write_rich_bodies(root: Path) -> None:
    folder = root / "body_models"
    (folder / "smplx").mkdir(parents=True)
    for gender in ("female", "male"):
        np.savez(folder / "smplx" / f"SMPLX_{gender.upper()}.npz", **smplx_arrays(gender))
    content = pickle.dumps({"mtx": sp.csc_matrix(smpl_from_smplx()), "valid_pix_ids": np.arange(3)}, protocol=2)
    scene.write(folder / "transfer_data" / "smplx2smpl_deftrafo_setup.pkl", content)


def rich_fit(name: str, number: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(abs(hash_of(name + number)))
    sizes = {
        "transl": 3, "global_orient": 3, "body_pose": 63, "betas": 10, "left_hand_pose": 12, "right_hand_pose": 12,
        "jaw_pose": 3, "leye_pose": 3, "reye_pose": 3, "expression": 10,
    }  # fmt: skip
    fit = {key: (rng.normal(size=(1, size)) * 0.3).astype(np.float32) for key, size in sizes.items()}
    fit["transl"] = np.float32([[0.1, 0.0, 4.0]]) + fit["transl"] * 0.1
    return fit


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode(), "little") % 2**32


def rich_truth(name: str, gender: str) -> tuple[np.ndarray, np.ndarray]:
    """SMPL's vertices and joints of a sequence, by the package smplx."""
    arrays = smplx_arrays(gender)
    fits = [rich_fit(name, number) for number in RICH_NUMBERS]
    fit = {key: np.concatenate([fit[key] for fit in fits]).astype(np.float64) for key in fits[0]}
    hands = [
        fit[f"{side}_hand_pose"] @ arrays[f"hands_components{side[0]}"][:12] + arrays[f"hands_mean{side[0]}"]
        for side in ("left", "right")
    ]
    order = ("global_orient", "body_pose", "jaw_pose", "leye_pose", "reye_pose")
    pose = np.concatenate([*(fit[key] for key in order), *hands], -1)
    directions = np.concatenate([arrays["shapedirs"][..., :10], arrays["shapedirs"][..., 300:310]], -1)
    coefficients = np.concatenate([fit["betas"], fit["expression"]], -1)
    smplx_vertices, _ = _lbs({**arrays, "shapedirs": directions}, coefficients, pose)
    smplx_vertices = smplx_vertices + fit["transl"][:, None]
    vertices = smpl_from_smplx()[:, :SMPLX_VERTICES] @ smplx_vertices
    return vertices, smpl_arrays("neutral")["J_regressor"] @ vertices


def rich_camera(camera: int) -> np.ndarray:
    """World-from-camera of a still camera of every scene."""
    return scene.cameras(8)[camera]


def write_rich(root: Path, cameras_of: dict[str, tuple[int, ...]]) -> None:
    picture = scene.encoded(scene.rgb(0), "JPEG")
    for name, cameras in cameras_of.items():
        place, subject, _ = name.split("_")
        for number in RICH_NUMBERS:
            path = root / "bodies" / "test" / name / number / f"{subject}.pkl"
            scene.write(path, pickle.dumps(rich_fit(name, number)))
        for camera in cameras:
            calibration = root / "scan_calibration" / place / "calibration" / f"{camera:03d}.xml"
            scene.write(calibration, _calibration_xml(camera).encode())
            for number in RICH_NUMBERS:
                path = root / "images" / "test" / name / f"cam_{camera:02d}" / f"{number}_{camera:02d}.jpeg"
                scene.write(path, picture)
    write_rich_bodies(root)


def _calibration_xml(camera: int) -> str:
    """As OpenCV's FileStorage writes it."""

    def matrix(name: str, values: np.ndarray) -> str:
        numbers = "\n    ".join(" ".join(f"{value:.12g}" for value in row) for row in values)
        return (
            f'<{name} type_id="opencv-matrix">\n  <rows>{len(values)}</rows>\n  <cols>{values.shape[1]}</cols>\n'
            f"  <dt>d</dt>\n  <data>\n    {numbers}</data></{name}>\n"
        )

    camera_from_world = np.linalg.inv(rich_camera(camera))[:3]
    return (
        '<?xml version="1.0"?>\n<opencv_storage>\n'
        + matrix("CameraMatrix", camera_from_world)
        + matrix("Intrinsics", scene.intrinsics())
        + matrix("Distortion", np.zeros((1, 5)))
        + "</opencv_storage>\n"
    )
