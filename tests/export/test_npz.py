"""NPZ files in AMASS's layout and in the camera's and the world's, posed again by the smplx package."""

import dataclasses
import functools
import logging

import numpy as np
import pytest
import torch

from tests.helpers.posed import make_posed
from unish.body.open_body import read_open_body
from unish.body.smplx_body import SmplxBody
from unish.errors import InputError
from unish.export import npz
from unish.export.npz import write_amass, write_motion, write_npz
from unish.structures import Clip

Y_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope="module")
def posed():
    return make_posed()


@pytest.fixture(scope="module")
def folder(posed, tmp_path_factory):
    place = tmp_path_factory.mktemp("npz")
    files = write_npz(posed, place)
    assert sorted(file.name for file in files) == sorted(file.name for file in place.iterdir())
    return place


@functools.cache
def smplx_body() -> torch.nn.Module:
    """The open body as smplx runs it: from rotation vectors, `transl` added at the end."""
    return SmplxBody(read_open_body()).smplx


def forward(global_orient, body_pose, transl, betas) -> tuple[np.ndarray, np.ndarray]:
    inputs = {"global_orient": global_orient, "body_pose": body_pose, "transl": transl, "betas": betas}
    posed = smplx_body()(**{name: torch.from_numpy(np.asarray(value)).float() for name, value in inputs.items()})
    return posed.vertices.numpy(), posed.joints[:, :24].numpy()


def test_amass_poses_give_the_bodies_of_the_world(posed, folder):
    for person in posed.people:
        data = np.load(folder / f"person_{person.id}_amass.npz")
        frames, betas = len(posed), np.tile(data["betas"][:10], (len(posed), 1))
        smpl = data["poses_smpl"]
        vertices, _ = forward(smpl[:, :3], smpl[:, 3:], data["trans"], betas)
        assert np.abs(vertices - person.vertices_world).max() < 1e-4
        # What a program takes that reads AMASS: SMPL+H's 52 joints, of which SMPL knows the first 22.
        assert data["poses"].shape == (frames, 156) and not data["poses"][:, 66:].any()
        known = np.c_[data["poses"][:, 3:66], np.zeros((frames, 6))]
        _, joints = forward(data["poses"][:, :3], known, data["trans"], betas)
        assert np.abs(joints[:, :22] - person.joints_world[:, :22]).max() < 1e-4


def test_amass_keys_are_those_that_programs_ask_for(posed, folder):
    data = np.load(folder / "person_2_amass.npz")
    assert data["trans"].shape == (6, 3) and data["betas"].shape == (16,) and data["dmpls"].shape == (6, 8)
    assert np.array_equal(data["betas"][:10], posed.people[1].betas) and not data["betas"][10:].any()
    assert str(data["gender"]) == "neutral" and str(data["surface_model_type"]) == "smplh"
    assert float(data["mocap_framerate"]) == float(data["mocap_frame_rate"]) == posed.fps
    parts = np.c_[data["root_orient"], data["pose_body"], data["pose_hand"]]
    assert np.array_equal(parts, data["poses"])
    assert np.array_equal(data["present"], posed.people[1].present) and str(data["body"]) == "open"


def test_a_gendered_body_gives_its_gender(posed, tmp_path):
    result = dataclasses.replace(posed, provenance=dataclasses.replace(posed.provenance, body="smpl_female"))
    (file,) = write_amass(result, tmp_path / "a.npz", person=1)
    assert str(np.load(file)["gender"]) == "female"


def test_motion_gives_the_bodies_of_the_camera_and_of_a_world_that_is_y_up(posed, folder):
    for person in posed.people:
        data = np.load(folder / f"person_{person.id}_motion.npz")
        names = ("global_orient", "body_pose", "transl", "betas")
        in_camera, _ = forward(*(data[f"incam_{name}"] for name in names))
        in_world, _ = forward(*(data[f"global_{name}"] for name in names))
        camera_from_world = np.linalg.inv(posed.cameras.world_from_camera.astype(np.float64))
        turn, shift = camera_from_world[:, :3, :3].swapaxes(1, 2), camera_from_world[:, None, :3, 3]
        assert np.abs(in_camera - (person.vertices_world @ turn + shift)).max() < 1e-4
        assert np.abs(in_world - person.vertices_world @ Y_UP.T).max() < 1e-4


def test_the_cameras_matrices_carry_one_onto_the_other(posed, folder):
    data = np.load(folder / "person_1_motion.npz")
    assert data["K_fullimg"].shape == (6, 3, 3) and data["image_size"].tolist() == [80, 60]
    world = posed.people[0].vertices_world @ Y_UP.T
    in_camera = world @ data["T_cw"][:, :3, :3].swapaxes(1, 2) + data["T_cw"][:, None, :3, 3]
    back = in_camera @ data["T_wc"][:, :3, :3].swapaxes(1, 2) + data["T_wc"][:, None, :3, 3]
    assert np.abs(back - world).max() < 1e-5
    assert np.abs(data["T_wc"][:, :3, 3] - posed.cameras.centers_world @ Y_UP.T).max() < 1e-6
    pixels = in_camera @ data["K_fullimg"].swapaxes(1, 2)
    columns, rows = np.floor(pixels[..., :2] / pixels[..., 2:]).astype(int).transpose(2, 0, 1)
    seen = posed.person_mask[np.arange(6)[:, None], rows.clip(0, 59), columns.clip(0, 79)]
    assert (seen == 1).mean() > 0.95


def test_the_lens_is_in_pixels_and_millimetres_and_that_of_the_clip_where_it_is_given(posed, folder, tmp_path):
    """The clip is four times as large and wider than what the network saw: its sides were cut off."""
    small = np.load(folder / "person_1_motion.npz")
    assert np.allclose(small["focal_mm"], 36 * 70 / 80) and small["sensor_width_mm"] == 36
    frames = np.zeros((6, 240, 332, 3), np.uint8)
    clip = Clip(frames, posed.times_s, posed.fps, "walk.mp4", (332, 240))
    (file,) = write_motion(posed, tmp_path / "wide.npz", person=1, clip=clip)
    wide = np.load(file)
    assert wide["image_size"].tolist() == [332, 240]
    assert np.allclose(wide["K_fullimg"], [[280, 0, 166], [0, 280, 120], [0, 0, 1]])
    assert np.allclose(wide["focal_mm"], 36 * 280 / 332)
    assert all(np.array_equal(small[key], wide[key]) for key in ("T_wc", "pose", "trans_world"))


def test_a_camera_that_stands_still_has_one_pose(posed, tmp_path):
    poses = np.repeat(posed.cameras.world_from_camera[3:4], len(posed), axis=0)
    poses[1:, :3, 3] += np.float32(1e-6)
    still = dataclasses.replace(posed, cameras=dataclasses.replace(posed.cameras, world_from_camera=poses))
    (file,) = write_motion(still, tmp_path / "still.npz", person=1)
    data = np.load(file)
    assert np.array_equal(data["T_wc"], np.repeat(data["T_wc"][:1], 6, axis=0))
    assert np.array_equal(data["T_cw"], np.repeat(data["T_cw"][:1], 6, axis=0))


def test_whams_keys_say_the_same(folder):
    data = np.load(folder / "person_1_motion.npz")
    for frame, (pose, trans) in {"incam": ("pose", "trans"), "global": ("pose_world", "trans_world")}.items():
        assert np.array_equal(data[pose], np.c_[data[f"{frame}_global_orient"], data[f"{frame}_body_pose"]])
        assert np.array_equal(data[trans], data[f"{frame}_transl"])
    assert data["frame_ids"].tolist() == list(range(6)) and data["betas"].shape == (6, 10)


def test_nothing_is_pickled(folder):
    for file in folder.iterdir():
        with np.load(file, allow_pickle=False) as data:
            assert all(data[key].dtype != object for key in data.files)


def test_betas_of_the_open_body_are_announced(posed, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "unish"):
        write_npz(posed, tmp_path)
    assert [record.message for record in caplog.records] == [
        "The shape parameters (betas) are the open body's; with SMPL they give another shape."
    ]


def test_one_file_holds_one_person(posed, tmp_path):
    for write in (write_amass, write_motion):
        with pytest.raises(InputError, match=r"got a result with 1, 2; choose one"):
            write(posed, tmp_path / "who.npz")
        with pytest.raises(InputError, match="got 9"):
            write(posed, tmp_path, person=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_amass, write_motion])
def test_an_interrupted_write_leaves_nothing(posed, tmp_path, monkeypatch, write):
    def stop(file, **arrays):
        file.write_bytes(b"PK")
        raise KeyboardInterrupt

    monkeypatch.setattr(npz.np, "savez_compressed", stop)
    with pytest.raises(KeyboardInterrupt):
        write(posed, tmp_path)
    assert list(tmp_path.iterdir()) == []
