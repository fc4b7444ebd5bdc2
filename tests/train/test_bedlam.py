"""BEDLAM's raw files to shards: what was put in comes out, and what is wrong is named."""

import dataclasses
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("OpenEXR")

from tests.helpers.bedlam_raw import SCENE, label_rows, write_depth, write_labels, write_sequence
from train.data.augment import take_frames
from train.data.prepare.bedlam import BedlamConfig, main, prepare
from train.data.prepare.bedlam_clips import link_people, sequence_clips
from train.data.prepare.bedlam_files import read_cameras, read_depth, unreal_rotation
from train.data.schema import ClipSample, iterate_clips
from train.synthetic.clips import generate_clip
from unish.errors import InputError, MissingDependencyError

OTHER_SCENE = "20221019_3-8_1000_highbmihand_static_suburb_d_6fps"


@pytest.fixture(scope="session")
def truth() -> ClipSample:
    return generate_clip(0, frames=10, long_side_px=320, aspect="16:9", people_count=2)


@pytest.fixture(scope="session")
def short(truth) -> ClipSample:
    """Two small frames of it, for tests of the bookkeeping."""
    return take_frames(truth, np.arange(2))


@pytest.fixture
def places(tmp_path) -> tuple[Path, Path, Path]:
    return tmp_path / "raw", tmp_path / "labels", tmp_path / "out"


def configured(places, **changes) -> BedlamConfig:
    return BedlamConfig(*places, **({"workers": 1, "min_frames": 2} | changes))


def write(places, clip, scene=SCENE, sequences=("seq_000000",), **options) -> None:
    """The same clip as every sequence of a scene."""
    for sequence in sequences:
        write_sequence(places[0] / scene, clip, sequence, **options)
    write_labels(places[1] / f"{scene}.npz", *(label_rows(clip, sequence) for sequence in sequences))


def made(places) -> list[ClipSample]:
    return sorted(iterate_clips(places[2]), key=lambda clip: clip.clip_id)


def in_order_of(clip: ClipSample, truth: ClipSample) -> list[int]:
    """For each true person, who it is in the clip: the one with its shape."""
    return [int(np.abs(clip.betas - betas).sum(1).argmin()) for betas in truth.betas]


def relative(world_from_camera: np.ndarray) -> np.ndarray:
    poses = world_from_camera.astype(np.float64)
    return np.linalg.inv(poses[0]) @ poses


def squares(truth: ClipSample) -> np.ndarray:
    """BEDLAM's boxes are squares; ours are cut at the picture's borders."""
    center = (truth.boxes_px[..., :2] + truth.boxes_px[..., 2:]) / 2
    half = (truth.boxes_px[..., 2:] - truth.boxes_px[..., :2]).max(-1, keepdims=True) / 2
    height, width = truth.images.shape[1:3]
    return np.clip(np.concatenate([center - half, center + half], -1), 0, [width, height, width, height])


# ---------------------------------------------------------------- there and back


@pytest.mark.parametrize("key_points", [45, 24])
def test_what_goes_in_comes_out(places, truth, key_points):
    write_sequence(places[0] / SCENE, truth)
    write_labels(places[1] / f"{SCENE}.npz", label_rows(truth, key_points=key_points))
    prepare(configured(places))
    (clip,) = made(places)
    assert (clip.body, clip.fps, clip.people, clip.frames) == ("smpl", 6.0, 2, 10)
    assert np.abs(clip.images.astype(int) - truth.images).mean() < 3
    np.testing.assert_allclose(clip.depth_m, truth.depth_m, atol=0.001)
    np.testing.assert_allclose(clip.intrinsics, truth.intrinsics, rtol=1e-5)
    found, wanted = relative(clip.world_from_camera), relative(truth.world_from_camera)
    np.testing.assert_allclose(found[:, :3, 3], wanted[:, :3, 3], atol=0.001)
    np.testing.assert_allclose(found[:, :3, :3], wanted[:, :3, :3], atol=1e-4)
    order = in_order_of(clip, truth)
    assert order == [1, 0]  # by subject, and the second person's name comes first
    np.testing.assert_allclose(clip.betas[order], truth.betas, atol=1e-5)
    np.testing.assert_allclose(clip.body_rotations[order], truth.body_rotations, atol=1e-4)
    np.testing.assert_allclose(clip.translation_camera[order], truth.translation_camera, atol=0.001)
    np.testing.assert_allclose(clip.joints_px[order], truth.joints_px, atol=0.01)
    np.testing.assert_allclose(clip.boxes_px[order], squares(truth), atol=0.01)
    for person, index in enumerate(order):
        np.testing.assert_array_equal(clip.person_mask == index + 1, truth.person_mask == person + 1)
    np.testing.assert_allclose(clip.visibility[order], truth.visibility, atol=0.25)


def test_gravity_points_down_in_the_world(places, truth):
    """The clip's world has z up, BEDLAM's y down: the cameras' heights are the same."""
    write(places, truth)
    prepare(configured(places))
    (clip,) = made(places)
    np.testing.assert_allclose(-clip.world_from_camera[:, 1, 3], truth.world_from_camera[:, 2, 3], atol=0.001)
    np.testing.assert_allclose(-clip.world_from_camera[:, 1, :3], truth.world_from_camera[:, 2, :3], atol=1e-4)


def test_without_masks_of_actors_each_pixel_goes_to_the_nearest_bones(places, truth):
    write(places, truth, person_masks=False)
    prepare(configured(places))
    (clip,) = made(places)
    for person, index in enumerate(in_order_of(clip, truth)):
        found, wanted = clip.person_mask == index + 1, truth.person_mask == person + 1
        assert (found & wanted).sum() > 0.97 * (found | wanted).sum()


def test_people_without_labels_are_nobody(places, truth):
    """The labels leave out a person who is hardly in the picture."""
    present = np.array([[True], [False]]).repeat(truth.frames, 1)
    for scene, person_masks in ((SCENE, True), (OTHER_SCENE, False)):
        write_sequence(places[0] / scene, truth, person_masks=person_masks)
        write_labels(places[1] / f"{scene}.npz", label_rows(truth, present=present))
    prepare(configured(places))
    exact, nearest = made(places)
    np.testing.assert_array_equal(exact.person_mask, truth.person_mask == 1)
    assert exact.people == nearest.people == 1
    assert (nearest.person_mask[truth.person_mask == 1] == 1).mean() > 0.97


def test_the_44_key_points_of_camerahmr_are_put_in_their_places(places, truth):
    rows = label_rows(truth)
    openpose = np.full((len(rows["gtkps"]), 44, 3), 7.0)
    places_of = {8: 0, 1: 12, 2: 17, 3: 19, 4: 21, 5: 16, 6: 18, 7: 20, 9: 2, 10: 5, 11: 8, 12: 1, 13: 4, 14: 7}
    for place, joint in places_of.items():
        openpose[:, place] = rows["gtkps"][:, joint]
    write_sequence(places[0] / SCENE, truth)
    write_labels(places[1] / f"{SCENE}.npz", rows | {"gtkps": openpose})
    prepare(configured(places))
    (clip,) = made(places)
    known = sorted(places_of.values())
    order = in_order_of(clip, truth)
    np.testing.assert_allclose(clip.joints_px[order][:, :, known], truth.joints_px[:, :, known], atol=0.01)
    assert np.isnan(np.delete(clip.joints_px, known, axis=2)).all()
    np.testing.assert_allclose(clip.visibility[order], truth.visibility, atol=0.25)


@pytest.mark.parametrize(
    ("angles", "right", "down", "forward"),
    [
        ((90, 0, 0), (0, 0, -1), (0, 1, 0), (1, 0, 0)),  # to the right: what was right is ahead
        ((0, 90, 0), (1, 0, 0), (0, 0, 1), (0, -1, 0)),  # up to the sky
        ((0, 0, 90), (0, 1, 0), (-1, 0, 0), (0, 0, 1)),  # clockwise: the right hand goes down
        ((90, 90, 0), (0, 0, -1), (1, 0, 0), (0, -1, 0)),  # first to the right, then up
    ],
)
def test_unreal_angles_by_hand(tmp_path, angles, right, down, forward):
    path = tmp_path / "seq_000000_camera.csv"
    yaw, pitch, roll = angles
    path.write_text(
        "name,x,y,z,yaw,pitch,roll,focal_length,sensor_width,sensor_height,hfov\n"
        f"seq_000000_0000.png,100,200,300,{yaw},{pitch},{roll},36.0,36,20.25,53.13\n"
    )
    intrinsics, pose = read_cameras(path, ["seq_000000_0000.png"], 1280, 720)
    np.testing.assert_allclose(pose[0, :3, :3], np.array([right, down, forward]).T, atol=1e-12)
    np.testing.assert_allclose(pose[0, :3, 3], [2, -3, 1])
    np.testing.assert_allclose(intrinsics[0], [[1280, 0, 640], [0, 1280, 360], [0, 0, 1]])


def test_unreal_angles_are_those_of_bedlams_own_labels(tmp_path):
    """Its label code turns by roll about z, pitch about x and yaw about y, all in OpenCV axes, from world to camera."""
    row = "5.058579,-9.743741,168.953232,1.468127,-2.905068,2.813995,36.905,36,20.25,52"
    path = tmp_path / "seq_000000_camera.csv"
    path.write_text(
        f"name,x,y,z,yaw,pitch,roll,focal_length,sensor_width,sensor_height,hfov\nseq_000000_0000.png,{row}\n"
    )
    intrinsics, pose = read_cameras(path, ["seq_000000_0000.png"], 1280, 720)
    expected = Rotation.from_euler("YXZ", [1.468127, -2.905068, 2.813995], degrees=True)
    np.testing.assert_allclose(pose[0, :3, :3], expected.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(pose[0, :3, 3], [-0.09743741, -1.68953232, 0.05058579])
    np.testing.assert_allclose(np.degrees(2 * np.arctan(640 / intrinsics[0, 0, 0])), 52, atol=0.01)


def test_small_unreal_angles_add_up():
    """To first order the order of turns does not matter, only their directions."""
    turn = unreal_rotation(np.array(0.1), np.array(0.2), np.array(0.3))
    yaw, pitch, roll = np.radians([0.1, 0.2, 0.3])
    np.testing.assert_allclose(turn, [[1, -yaw, -pitch], [yaw, 1, roll], [pitch, -roll, 1]], atol=2e-5)


def test_depth_is_in_metres_and_none_beyond_200(tmp_path):
    write_depth(tmp_path / "d.exr", np.array([[150, 20_000, 20_001, 1e8, np.inf, np.nan, -5]], np.float32))
    np.testing.assert_allclose(read_depth(tmp_path / "d.exr"), [[1.5, 200, 0, 0, 0, 0, 0]])


# ---------------------------------------------------------------- people over time


def test_a_person_leaves_and_another_comes(places, truth):
    present = np.ones((2, truth.frames), bool)
    present[0, 6:] = present[1, :3] = False
    write_sequence(places[0] / SCENE, truth)
    write_labels(places[1] / f"{SCENE}.npz", label_rows(truth, present=present))
    prepare(configured(places, frames=5))
    first, second = made(places)
    assert [first.people, second.people] == [2, 2]
    for start, clip in ((0, first), (5, second)):
        for person, index in enumerate(in_order_of(clip, truth)):
            there = present[person, start : start + 5]
            gone = clip.visibility[index] == 0
            np.testing.assert_array_equal(gone, ~there)
            assert (clip.boxes_px[index][gone] == 0).all() and np.isnan(clip.joints_px[index][gone]).all()
            np.testing.assert_allclose(
                clip.translation_camera[index][there],
                truth.translation_camera[person, start : start + 5][there],
                atol=0.001,
            )


def test_the_same_subject_twice_is_two_people(places, truth):
    write_sequence(places[0] / SCENE, truth)
    rows = label_rows(truth, subjects=("rp_a_posed_001", "rp_a_posed_001"))
    mixed = np.random.default_rng(0).permutation(len(rows["sub"]))
    write_labels(places[1] / f"{SCENE}.npz", {name: values[mixed] for name, values in rows.items()})
    prepare(configured(places))
    (clip,) = made(places)
    order = in_order_of(clip, truth)
    assert sorted(order) == [0, 1]
    np.testing.assert_allclose(clip.translation_camera[order], truth.translation_camera, atol=0.001)


def test_without_subjects_the_shape_tells_who_it_is(places, truth):
    write_sequence(places[0] / SCENE, truth)
    rows = label_rows(truth)
    del rows["sub"]
    write_labels(places[1] / f"{SCENE}.npz", rows)
    prepare(configured(places))
    (clip,) = made(places)
    np.testing.assert_allclose(clip.translation_camera[in_order_of(clip, truth)], truth.translation_camera, atol=0.001)


def test_two_of_a_subject_are_linked_by_place_and_time():
    frame = np.array([0, 0, 1, 1, 3, 3, 4])
    x = np.array([0.0, 5.0, 5.1, 0.3, 0.6, 5.3, 40.0])
    person = link_people(np.array(["a"] * 7), frame, np.stack([x, 0 * x, 0 * x], 1), fps=6)
    np.testing.assert_array_equal(person, [0, 1, 1, 0, 0, 1, 2])  # the last one is too far to be either


# ---------------------------------------------------------------- frames over time


def test_of_30_frames_a_second_every_fifth_is_taken(places, truth):
    scene = SCENE.replace("_6fps", "_30fps")
    write_sequence(places[0] / scene, truth, step=1)
    write_labels(places[1] / f"{SCENE}.npz", label_rows(truth, step=1))
    prepare(configured(places))
    (clip,) = made(places)
    np.testing.assert_allclose(clip.depth_m, truth.depth_m[::5], atol=0.001)
    assert clip.fps == 6.0


@pytest.mark.parametrize(("scene", "step"), [(SCENE, 1), (SCENE.removesuffix("_6fps"), 5)])
def test_of_6_frames_a_second_all_are_taken(places, short, scene, step):
    """By the scene's name, or by the numbers, which count at 30 a second."""
    write_sequence(places[0] / scene, short, step=step)
    write_labels(places[1] / f"{SCENE}.npz", label_rows(short, step=step))
    prepare(configured(places))
    assert [clip.frames for clip in made(places)] == [short.frames]


def test_the_rate_of_the_files_can_be_said(places, truth):
    write_sequence(places[0] / SCENE, truth, step=1)
    write_labels(places[1] / f"{SCENE}.npz", label_rows(truth, step=1))
    prepare(configured(places, source_fps=30.0))
    assert [clip.frames for clip in made(places)] == [2]


def test_labels_that_are_rarer_than_frames_are_refused(places, truth, capsys):
    scene = SCENE.replace("_6fps", "_30fps")
    write_sequence(places[0] / scene, truth, step=1)
    write_labels(places[1] / f"{SCENE}.npz", label_rows(take_frames(truth, np.arange(0, 10, 5)), step=5))
    with pytest.raises(InputError, match="No clip"):
        prepare(configured(places, fps=30.0))
    assert "rarer than --fps 30" in capsys.readouterr().out


def test_clips_overlap_by_the_stride_and_short_rests_are_dropped(places, truth):
    write(places, truth)
    prepare(configured(places, frames=4, stride=3, min_frames=2))
    clips = made(places)
    assert [clip.clip_id[-4:] for clip in clips] == ["0000", "0015", "0030"]
    np.testing.assert_allclose(clips[1].depth_m, truth.depth_m[3:7], atol=0.001)
    shutil.rmtree(places[2])
    prepare(configured(places, frames=8, min_frames=3))
    assert [clip.frames for clip in made(places)] == [8]


def test_images_are_shrunk_on_demand(places, short):
    write(places, short)
    prepare(configured(places, long_side_px=160))
    (clip,) = made(places)
    assert clip.images.shape[1:3] == (90, 160)
    np.testing.assert_allclose(clip.intrinsics[0, 0, 0], short.intrinsics[0, 0, 0] / 2, rtol=1e-5)


# ---------------------------------------------------------------- what is left out or broken


def test_scenes_without_depth_and_rotated_ones_are_left_out(places, short, capsys):
    rotated, panorama, unlabelled = "20221011_1_250_batch01hand_closeup_suburb_a", "20221010_3_1000_batch01hand", "x"
    for scene in (SCENE, OTHER_SCENE, rotated, panorama, unlabelled):
        write(places, short, scene)
    shutil.rmtree(places[0] / OTHER_SCENE / "depth")
    (places[1] / f"{unlabelled}.npz").unlink()
    prepare(configured(places))
    said = capsys.readouterr().out
    assert "1 clip of 1 scene in" in said
    for scene, reason in (
        (rotated, "closeup"),
        (panorama, "HDRI"),
        (OTHER_SCENE, "no folder depth"),
        ("x", "no labels"),
    ):
        assert any(reason in line and line.endswith(f"{scene}.") for line in said.splitlines()), said
    assert [clip.clip_id for clip in made(places)] == [f"bedlam-{SCENE}-seq_000000-0000"]


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "depth.exr is damaged": lambda scene: _truncate(scene / "depth/seq_000001/seq_000001_0005_depth.exr"),
    "depth.exr is missing": lambda scene: (scene / "depth/seq_000001/seq_000001_0005_depth.exr").unlink(),
    "camera.csv is missing": lambda scene: (scene / "ground_truth/camera/seq_000001_camera.csv").unlink(),
    "camera.csv should have columns": lambda scene: _truncate(scene / "ground_truth/camera/seq_000001_camera.csv"),
    "0005.png cannot be read": lambda scene: _truncate(scene / "png/seq_000001/seq_000001_0005.png"),
    "frame 0005 has no mask": lambda scene: [p.unlink() for p in (scene / "masks/seq_000001").glob("*_0005_*")],
    "no images": lambda scene: [p.unlink() for p in (scene / "png/seq_000001").glob("*.png")],
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_damaged_sequence_is_skipped_and_named(places, short, reason, capsys):
    sequences = ("seq_000000", "seq_000001", "seq_000002")
    write(places, short, sequences=sequences)
    DAMAGE[reason](places[0] / SCENE)
    prepare(configured(places))
    said = capsys.readouterr().out
    assert "2 clips" in said and "Skipped 1 sequence:" in said
    assert any(f"{SCENE}/seq_000001: " in line and reason in line for line in said.splitlines()), said
    assert [clip.clip_id.split("-")[-2] for clip in made(places)] == ["seq_000000", "seq_000002"]
    left = {path.relative_to(places[2]).as_posix() for path in places[2].rglob("*") if path.is_file()}
    assert left == {f"train/{SCENE}-00000.parquet", f".prepared/train/{SCENE}-00000.json"}


def test_a_missing_image_in_between_is_noticed(places, truth, capsys):
    write(places, take_frames(truth, np.arange(4)), sequences=("seq_000000", "seq_000001"))
    (places[0] / SCENE / "png/seq_000001/seq_000001_0010.png").unlink()
    prepare(configured(places))
    assert "image 0010 is missing" in capsys.readouterr().out


def test_too_short_and_unlabelled_sequences_are_named(places, short, capsys):
    write(places, short, sequences=("seq_000000", "seq_000001"))
    write_labels(places[1] / f"{SCENE}.npz", label_rows(short))
    with pytest.raises(InputError, match="No clip could be made"):
        prepare(configured(places, min_frames=8))
    said = capsys.readouterr().out
    assert "seq_000000: too short, fewer than 8 frames" in said and "seq_000001: no labels" in said


# ---------------------------------------------------------------- labels


def test_zip_and_folder_give_the_same(places, short, tmp_path):
    write(places, short)
    with zipfile.ZipFile(tmp_path / "bedlam-labels-smpl.zip", "w") as archive:
        archive.write(places[1] / f"{SCENE}.npz", f"data/training-labels/{SCENE}.npz")
    prepare(configured(places))
    prepare(configured((places[0], tmp_path / "bedlam-labels-smpl.zip", tmp_path / "out2")))
    (one,), (other,) = made(places), made((0, 0, tmp_path / "out2"))
    for field in dataclasses.fields(ClipSample):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def _change(rows: dict, **changes) -> dict:
    return {name: values for name, values in (rows | changes).items() if values is not None}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: _change(rows, imgname=rows["imgname"].astype(object)), "holds Python objects"),
        (lambda rows: _change(rows, trans_cam=None), "lacks trans_cam"),
        (lambda rows: _change(rows, pose_cam=np.zeros((len(rows["sub"]), 165))), "SMPL-X"),
        (lambda rows: _change(rows, gtkps=rows["gtkps"][:, 15:]), "within half a metre"),
        (lambda rows: _change(rows, cam_ext=np.tile(np.eye(4), (len(rows["sub"]), 1, 1))), "within half a metre"),
    ],
)
def test_other_label_files_are_refused(places, short, change, said, capsys):
    write(places, short)
    write_labels(places[1] / f"{SCENE}.npz", change(label_rows(short)))
    with pytest.raises(SystemExit) as end:
        main(["--root", str(places[0]), "--labels", str(places[1]), "--out", str(places[2]), "--workers", "1"])
    error = capsys.readouterr().err
    assert end.value.code == 2 and "error: " in error and SCENE in error
    assert said in error
    assert not list(places[2].rglob("*.parquet"))


def test_objects_in_arrays_that_are_not_needed_do_not_matter(places, short):
    write(places, short)
    rows = label_rows(short)
    write_labels(places[1] / f"{SCENE}.npz", rows | {"motion_info": np.array([{}] * len(rows["sub"]))})
    prepare(configured(places))
    assert len(made(places)) == 1


# ---------------------------------------------------------------- the command


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stopped_run_goes_on_where_it_was(places, short, workers):
    sequences = tuple(f"seq_{index:06d}" for index in range(9))
    write(places, short, sequences=sequences)
    config = configured(places, workers=workers)
    prepare(config)
    shards = sorted((places[2] / "train").glob("*.parquet"))
    assert [shard.name for shard in shards] == [f"{SCENE}-00000.parquet", f"{SCENE}-00001.parquet"]
    before = [clip.clip_id for clip in made(places)]
    assert len(before) == 9
    shutil.rmtree(places[0] / SCENE / "depth/seq_000000")  # what is finished is not read again
    times = [shard.stat().st_mtime_ns for shard in shards]
    prepare(config)
    assert [shard.stat().st_mtime_ns for shard in shards] == times
    shards[1].unlink()
    prepare(config)
    assert shards[0].stat().st_mtime_ns == times[0] and shards[1].is_file()
    assert [clip.clip_id for clip in made(places)] == before


def test_a_run_that_is_killed_leaves_no_half_shard(places, short, monkeypatch):
    write(places, short, sequences=("seq_000000", "seq_000001"))

    def killed(scene, sequence, labels, settings):
        if sequence == "seq_000001":
            raise KeyboardInterrupt
        return sequence_clips(scene, sequence, labels, settings)

    monkeypatch.setattr("train.data.prepare.bedlam.sequence_clips", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(configured(places))
    assert not [path for path in places[2].rglob("*") if path.is_file()]
    monkeypatch.undo()
    prepare(configured(places))
    assert len(made(places)) == 2


def test_a_shard_is_made_again_when_its_scene_grew(places, short):
    write(places, short)
    prepare(configured(places))
    write(places, short, sequences=("seq_000000", "seq_000001"))
    prepare(configured(places))
    assert len(made(places)) == 2


def test_other_settings_need_another_folder(places, short):
    write(places, short)
    prepare(configured(places))
    with pytest.raises(InputError, match="made with another --frames"):
        prepare(configured(places, frames=8))


def test_scenes_can_be_chosen(places, short):
    for scene in (SCENE, OTHER_SCENE):
        write(places, short, scene)
    prepare(configured(places, scenes=(OTHER_SCENE,), split="validation"))
    assert [clip.clip_id for clip in iterate_clips(places[2], "validation")] == [
        f"bedlam-{OTHER_SCENE}-seq_000000-0000"
    ]
    with pytest.raises(InputError, match="--scenes should name folders"):
        prepare(configured(places, scenes=("nowhere",)))


@pytest.mark.parametrize("found", ["no such folder", "none", "a scene's own folder"])
def test_a_folder_that_is_not_bedlam_is_one_sentence_and_exit_code_2(places, short, found, capsys):
    root = places[0]
    if found == "none":
        (root / "photos").mkdir(parents=True)
    elif found != "no such folder":
        write(places, short)
        root = root / SCENE
    with pytest.raises(SystemExit) as end:
        main(["--root", str(root), "--labels", str(places[1]), "--out", str(places[2])])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith(f"error: --root {root} should hold scenes of BEDLAM") and f"found {found};" in error
    assert error.count("\n") == 1 and not places[2].exists()


def test_labels_that_are_not_there_are_one_sentence(places, short):
    write_sequence(places[0] / SCENE, short)
    with pytest.raises(InputError, match="--labels should be bedlam-labels-smpl"):
        prepare(configured(places))


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"fps": 0.0}, {"workers": 0}, {"split": "../x"}, {"push_to_hub": "mine"}, {"stride": -1}]
)
def test_impossible_flags_are_named(places, wrong):
    with pytest.raises(InputError, match=f"^--{next(iter(wrong)).replace('_', '-')} "):
        prepare(configured(places, **wrong))


def test_the_missing_package_is_named(places, monkeypatch):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(MissingDependencyError, match="pip install OpenEXR"):
        prepare(configured(places))


# ---------------------------------------------------------------- the Hub


class FakeHub:
    """HfApi that writes down what it is asked."""

    private = True
    calls: list

    def create_repo(self, repo_id, **options):
        self.calls.append(("create", repo_id, options))

    def repo_info(self, repo_id, **options):
        return self

    def upload_folder(self, **options):
        self.calls.append(("upload", options.pop("repo_id"), options))


@pytest.fixture
def hub(monkeypatch) -> type[FakeHub]:
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "calls", [], raising=False)
    monkeypatch.setattr(FakeHub, "private", True)
    return FakeHub


def test_the_folder_goes_to_a_private_repository(places, short, hub):
    write(places, short)
    prepare(configured(places, push_to_hub="me/bedlam"))
    create, *_, upload = hub.calls
    assert create == ("create", "me/bedlam", {"repo_type": "dataset", "private": True, "exist_ok": True})
    assert upload[:2] == ("upload", "me/bedlam")
    assert upload[2]["folder_path"] == places[2] and upload[2]["repo_type"] == "dataset"
    assert upload[2]["ignore_patterns"] == [".prepared/**"]


def test_a_public_repository_is_refused_before_any_work(places, short, hub, monkeypatch):
    monkeypatch.setattr(hub, "private", False)
    write(places, short)
    with pytest.raises(InputError, match="should be private"):
        prepare(configured(places, push_to_hub="me/bedlam"))
    assert not places[2].exists() and not [call for call in hub.calls if call[0] == "upload"]


def test_what_the_hub_answers_is_said(places, short, hub, monkeypatch):
    def refuse(self, repo_id, **options):
        raise RuntimeError("401 Unauthorized")

    monkeypatch.setattr(hub, "create_repo", refuse)
    write(places, short)
    with pytest.raises(InputError, match="401 Unauthorized"):
        prepare(configured(places, push_to_hub="me/bedlam"))
