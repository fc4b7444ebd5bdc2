"""COLMAP projects as COLMAP itself reads them (pycolmap)."""

import dataclasses
import json
import shutil

import cv2
import numpy as np
import pycolmap
import pytest
import torch
import trimesh
from PIL import Image

from tests.helpers.posed import make_posed
from unish.errors import InputError
from unish.export import colmap
from unish.export.colmap import OTHER_FRAMES, picture_name, write_colmap
from unish.export.scene_points import scene_points
from unish.structures import Clip, Reconstruction
from unish.structures.presence import is_missed
from unish.video.preprocess import frame_transform

POINTS = 1500
LONG_SIDE_PX, PATCH = 84, 14
"""Of the network in these tests: pictures of 84 pixels, in patches of 14."""


def with_clip(scene: Reconstruction, width: int, height: int) -> Clip:
    """Frames of another size in which the network's lie, as they would have been cut from them; grey around."""
    transform = frame_transform(width, height, LONG_SIDE_PX, PATCH)
    rows, columns = (
        np.floor((np.arange(side) + 0.5) * transform.scale - offset).astype(int).clip(0, seen - 1)
        for side, offset, seen in (
            (height, transform.offset_y_px, transform.height_px),
            (width, transform.offset_x_px, transform.width_px),
        )
    )
    frames = scene.images[:, rows[:, None], columns]
    return Clip(np.ascontiguousarray(frames), scene.times_s, scene.fps, "walk.mp4", (width, height))


@pytest.fixture(scope="module")
def scene():
    return make_posed(6, 2, height=56, width=84)


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    return write_colmap(scene, tmp_path_factory.mktemp("colmap") / "out", max_points=POINTS)


@pytest.fixture(scope="module")
def model(folder):
    return pycolmap.Reconstruction(folder / "sparse" / "0")


def projected(image, camera, points_world) -> np.ndarray:
    """As pycolmap sees them."""
    return np.array(camera.img_from_cam(image.cam_from_world() * points_world))


def only(folder, suffix: str, alone):
    """The model's files of one kind in a folder of their own."""
    alone.mkdir()
    for name in ("cameras", "images", "points3D"):
        shutil.copy(folder / "sparse" / "0" / f"{name}.{suffix}", alone)
    return alone


def test_the_model_is_whole_and_its_points_project_where_they_are_observed(scene, model):
    assert model.num_images() == len(scene) and model.num_cameras() == 1
    assert model.num_points3D() == len(scene_points(scene, POINTS)) > 1000
    for image in model.images.values():
        seen = [point for point in image.points2D if point.has_point3D()]
        assert len(seen) == len(image.points2D) > 100
        places = np.array([model.points3D[point.point3D_id].xyz for point in seen])
        found = projected(image, model.cameras[image.camera_id], places)
        assert np.abs(found - np.array([point.xy for point in seen])).max() < 2e-3
    errors = [point.error for point in model.points3D.values()]
    model.update_point_3d_errors()
    assert np.allclose(errors, [point.error for point in model.points3D.values()], atol=1e-4) and max(errors) < 2e-3


def test_cameras_stand_where_they_stood(scene, model):
    for frame in range(len(scene)):
        image = model.find_image_with_name(picture_name(frame))
        camera_from_world = np.linalg.inv(scene.cameras.world_from_camera[frame].astype(np.float64))
        assert np.allclose(image.cam_from_world().matrix(), camera_from_world[:3], atol=1e-5)
        assert np.allclose(image.projection_center(), scene.cameras.centers_world[frame], atol=1e-5)


def test_transforms_json_projects_as_colmap_does(scene, folder, model):
    """As nerfstudio's page on data conventions reads it: camera to world, looking along −z, y up; pixels at the top."""
    content = json.loads((folder / "transforms.json").read_text())
    assert content["ply_file_path"] == "points.ply" and len(content["frames"]) == len(scene)
    points = trimesh.load(folder / content["ply_file_path"])
    colored = [model.points3D[index + 1] for index in range(model.num_points3D())]
    assert np.abs(points.vertices - [point.xyz for point in colored]).max() < 1e-5
    assert np.array_equal(points.colors[:, :3], [point.color for point in colored])
    for frame, entry in enumerate(content["frames"]):
        assert entry["file_path"] == f"images/{picture_name(frame)}" and entry["time_s"] == scene.times_s[frame]
        with Image.open(folder / entry["mask_path"]) as mask, Image.open(folder / entry["file_path"]) as image:
            assert mask.size == image.size == (content["w"], content["h"])
        image = model.find_image_with_name(picture_name(frame))
        places = np.array([model.points3D[point.point3D_id].xyz for point in image.points2D])
        camera_from_world = np.linalg.inv(entry["transform_matrix"])
        right, up, back = camera_from_world[:3, :3] @ places.T + camera_from_world[:3, 3:]
        across, down = content["fl_x"] * right / -back, content["fl_y"] * -up / -back
        pixels = np.stack([content["cx"] + across, content["cy"] + down], axis=-1)
        assert np.abs(pixels - projected(image, model.cameras[1], places)).max() < 1e-3
    assert content["focal_mm"] == pytest.approx(content["sensor_width_mm"] * content["fl_x"] / content["w"])
    assert (content["sensor_width_mm"], content["camera_model"], content["k1"]) == (36, "OPENCV", 0)


def test_a_camera_that_stands_still_has_one_pose(scene, tmp_path):
    poses = np.repeat(scene.cameras.world_from_camera[3:4], len(scene), axis=0)
    poses[1:, :3, 3] += np.float32(1e-6)
    still = dataclasses.replace(scene, cameras=dataclasses.replace(scene.cameras, world_from_camera=poses))
    folder = write_colmap(still, tmp_path / "out", max_points=100)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    matrices = [image.cam_from_world().matrix() for image in model.images.values()]
    assert all(np.array_equal(matrix, matrices[0]) for matrix in matrices)
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    assert all(frame["transform_matrix"] == frames[0]["transform_matrix"] for frame in frames)


def test_a_point_is_seen_at_the_middle_of_its_own_pixel(scene, model):
    """COLMAP's pixel (0, 0) has its middle at (½, ½), as ours has."""
    points = scene_points(scene, POINTS)
    for index in range(0, len(points), 7):
        point = model.points3D[index + 1]
        assert np.allclose(point.xyz, points.points_world[index], atol=1e-6)
        row, column = points.pixel[index]
        assert (point.color == scene.images[points.frame[index], row, column]).all()
        own = [one for one in point.track.elements if one.image_id == points.frame[index] + 1]
        assert len(own) == 1
        xy = model.images[own[0].image_id].points2D[own[0].point2D_idx].xy
        assert np.allclose(xy, [column + 0.5, row + 0.5], atol=1e-3)


def test_text_and_binary_are_one_model(folder, tmp_path):
    binary, text = (pycolmap.Reconstruction(only(folder, suffix, tmp_path / suffix)) for suffix in ("bin", "txt"))
    assert binary.num_cameras() == text.num_cameras() == 1
    assert binary.cameras[1].model == text.cameras[1].model
    assert (binary.cameras[1].width, binary.cameras[1].height) == (text.cameras[1].width, text.cameras[1].height)
    assert np.array_equal(binary.cameras[1].params, text.cameras[1].params)
    for id, image in binary.images.items():
        other = text.images[id]
        assert (image.name, image.camera_id) == (other.name, other.camera_id)
        assert np.array_equal(image.cam_from_world().matrix(), other.cam_from_world().matrix())
        assert [(*p.xy, p.point3D_id) for p in image.points2D] == [(*p.xy, p.point3D_id) for p in other.points2D]
    assert list(binary.points3D) == list(text.points3D) and binary.num_points3D() > 1000
    for id, point in binary.points3D.items():
        other = text.points3D[id]
        assert np.array_equal(point.xyz, other.xyz) and np.array_equal(point.color, other.color)
        assert point.error == other.error
        assert [(e.image_id, e.point2D_idx) for e in point.track.elements] == [
            (e.image_id, e.point2D_idx) for e in other.track.elements
        ]


def test_tracks_reach_the_frames_that_see_the_point(scene, model):
    """And those only: the other frame's own depth agrees, and nobody stands there."""
    lengths = [len(point.track.elements) for point in model.points3D.values()]
    assert np.mean(lengths) > 3 and max(lengths) <= 1 + OTHER_FRAMES
    for image in model.images.values():
        frame = image.image_id - 1
        places = np.array([model.points3D[point.point3D_id].xyz for point in image.points2D])
        depth = np.array(image.cam_from_world() * places)[:, 2]
        column, row = np.array([point.xy for point in image.points2D]).astype(int).T
        assert np.abs(scene.depth_m[frame, row, column] / depth - 1).max() < 0.04
        assert (scene.person_mask[frame, row, column] == 0).all()


def test_frames_that_disagree_share_no_points(scene, tmp_path):
    depth = scene.depth_m.copy()
    depth[3] *= 1.2
    folder = write_colmap(dataclasses.replace(scene, depth_m=depth), tmp_path / "out", max_points=POINTS)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    points = [model.points3D[point.point3D_id] for point in model.images[4].points2D]
    assert len(points) > 100 and {len(point.track.elements) for point in points} == {1}
    assert len(model.images[3].points2D) > len(model.images[4].points2D)


def test_long_tracks_are_cut_evenly(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(colmap, "OTHER_FRAMES", 2)
    folder = write_colmap(scene, tmp_path / "out", max_points=POINTS)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    lengths = np.array([len(point.track.elements) for point in model.points3D.values()])
    assert lengths.max() == 3 and (lengths == 3).mean() > 0.8
    shares = np.array([len(image.points2D) for image in model.images.values()]) / lengths.sum()
    assert shares.min() > 0.1, "late frames count as much as early ones"


@pytest.mark.parametrize(("width", "height"), [(202, 150), (168, 126), (97, 70), (170, 109)])
def test_pictures_and_intrinsics_of_the_original_frames(scene, tmp_path, width, height):
    """Another size and aspect than the network's: what was cut off lies around."""
    transform = frame_transform(width, height, LONG_SIDE_PX, PATCH)
    assert (transform.width_px, transform.height_px) == (84, 56), "the test's network"
    clip = with_clip(scene, width, height)
    folder = write_colmap(scene, tmp_path / "out", clip, max_points=300)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    camera = model.cameras[1]
    assert (camera.width, camera.height, camera.model.name) == (width, height, "PINHOLE")
    assert np.allclose(camera.params, [70 / transform.scale, 70 / transform.scale, width / 2, height / 2], atol=1e-3)
    points = scene_points(scene, 300)
    for index in range(0, len(points), 5):
        (element,) = [e for e in model.points3D[index + 1].track.elements if e.image_id == points.frame[index] + 1]
        middle = torch.from_numpy(points.pixel[index, ::-1] + 0.5)
        xy = model.images[element.image_id].points2D[element.point2D_idx].xy
        assert np.allclose(xy, transform.unmap_points(middle).numpy(), atol=2e-3)
    for frame in range(len(scene)):
        picture = np.asarray(Image.open(folder / "images" / picture_name(frame)))
        assert picture.shape == (height, width, 3)
        assert np.abs(picture.astype(int) - clip.frames[frame]).mean() < 6, "but for JPEG"


@pytest.mark.parametrize("size", [None, (202, 150)])
def test_masks_lie_on_the_people(scene, tmp_path, size):
    """Bodies, projected by COLMAP's own cameras, fall on black; what is far is white, unless somebody is missed."""
    clip = with_clip(scene, *size) if size else None
    folder = write_colmap(scene, tmp_path / "out", clip, max_points=100)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    width, height = size or (84, 56)
    for image in model.images.values():
        # Seen by COLMAP under the picture's name and .png, by nerfstudio with .png instead of .jpg.
        mask = np.asarray(Image.open(folder / "masks" / f"{image.name}.png"))
        assert np.array_equal(mask, np.asarray(Image.open(folder / "masks" / image.name.replace(".jpg", ".png"))))
        assert mask.shape == (height, width) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
        near = np.zeros(mask.shape, np.uint8)
        for person in scene.people:
            if person.present[image.image_id - 1]:
                vertices = person.vertices_world[image.image_id - 1].astype(np.float64)
                vertices = vertices[vertices[:, 2] > 0.03]  # of soles, the floor hides some
                column, row = np.floor(projected(image, model.cameras[1], vertices)).astype(int).T
                inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                assert inside.mean() > 0.5
                assert (mask[row[inside], column[inside]] == 0).mean() > 0.99
                near[row[inside], column[inside]] = 1
        reach = cv2.dilate(near, np.ones((2 * (4 * width // 84) + 1,) * 2))
        white = (mask[reach == 0] == 255).mean()
        missed = any(is_missed(person, scene.times_s, image.image_id - 1) for person in scene.people)
        assert (white < 0.9 if missed else white > 0.999) and (reach == 0).mean() > 0.3


def test_colmap_takes_the_masks(scene, folder, tmp_path):
    """COLMAP looks for features in the pictures with these masks: it finds none on people, and some elsewhere."""
    large = tmp_path / "large"
    shutil.copytree(folder, large)
    for path in [*(large / "images").iterdir(), *(large / "masks").iterdir()]:
        picture = Image.open(path)
        picture.resize((picture.width * 5, picture.height * 5), Image.Resampling.NEAREST).save(path, quality=95)
    found = {}
    for masks in (False, True):
        database = tmp_path / f"{masks}.db"
        options = pycolmap.ImageReaderOptions(camera_model="PINHOLE")
        if masks:
            options.mask_path = large / "masks"
        settings = pycolmap.FeatureExtractionOptions(use_gpu=False, num_threads=1)
        pycolmap.extract_features(
            database, large / "images", reader_options=options, extraction_options=settings, device=pycolmap.Device.cpu
        )
        with pycolmap.Database.open(database) as opened:
            found[masks] = [
                opened.read_keypoints(opened.read_image_with_name(picture_name(frame)).image_id)[:, :2] / 5
                for frame in range(len(scene))
            ]
    on_people = {
        masks: sum(
            int((scene.person_mask[frame][tuple(xy.astype(int).T[::-1])] > 0).sum()) for frame, xy in enumerate(parts)
        )
        for masks, parts in found.items()
    }
    assert on_people[False] > 20 and on_people[True] == 0
    assert sum(map(len, found[True])) > 50


def test_a_lens_that_zooms_is_a_camera_for_each_length(scene, tmp_path):
    intrinsics = scene.cameras.intrinsics.copy()
    intrinsics[3:, [0, 1], [0, 1]] = 90
    zoomed = dataclasses.replace(scene, cameras=dataclasses.replace(scene.cameras, intrinsics=intrinsics))
    folder = write_colmap(zoomed, tmp_path / "out", max_points=100)
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    assert model.num_cameras() == 2
    for frame in range(len(scene)):
        camera = model.cameras[model.images[frame + 1].camera_id]
        assert np.allclose(camera.params, [*[90 if frame >= 3 else 70] * 2, 42, 28])
    content = json.loads((folder / "transforms.json").read_text())
    assert "fl_x" not in content
    for frame, entry in enumerate(content["frames"]):
        fx = 90 if frame >= 3 else 70
        assert [entry[key] for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")] == [fx, fx, 42, 28, 84, 56]
        assert entry["focal_mm"] == pytest.approx(36 * fx / 84)


def test_no_points_at_all(scene, tmp_path):
    folder = write_colmap(scene, tmp_path / "out", max_points=0)
    for suffix in ("bin", "txt"):
        model = pycolmap.Reconstruction(only(folder, suffix, tmp_path / suffix))
        assert model.num_images() == len(scene) and model.num_points3D() == 0
    assert "ply_file_path" not in json.loads((folder / "transforms.json").read_text())
    assert not (folder / "points.ply").exists()


def test_of_a_clip_with_more_frames_those_of_the_result_are_taken(scene, tmp_path):
    """Twice as many a second, the others black, and some before and after."""
    clip = with_clip(scene, 168, 126)
    frames = np.zeros((17, 126, 168, 3), np.uint8)
    frames[3:14:2] = clip.frames
    times_s = scene.times_s[0] + (np.arange(17) - 3) / (2 * scene.fps)
    for name, given in (("once", clip), ("twice", dataclasses.replace(clip, frames=frames, times_s=times_s))):
        write_colmap(scene, tmp_path / name, given, max_points=50)
    for path in (tmp_path / "once" / "images").iterdir():
        assert path.read_bytes() == (tmp_path / "twice" / "images" / path.name).read_bytes()
    assert len(list((tmp_path / "twice" / "images").iterdir())) == len(scene)


def test_another_clip_is_refused(scene, tmp_path):
    clip = with_clip(scene, 168, 126)
    short = dataclasses.replace(clip, frames=clip.frames[:4], times_s=clip.times_s[:4])
    with pytest.raises(InputError, match=r"walk\.mp4 has no frame at 1\.33 s"):
        write_colmap(scene, tmp_path / "out", short)
    for width, height in ((168, 168), (126, 168), (168, 90)):
        other = dataclasses.replace(clip, frames=np.zeros((6, height, width, 3), np.uint8))
        with pytest.raises(InputError, match=f"84×56, got frames of {width}×{height}"):
            write_colmap(scene, tmp_path / "out", other)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(scene, tmp_path, monkeypatch):
    def interrupted(model, folder):
        assert (folder.parents[1] / "images" / picture_name(5)).is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(colmap, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_colmap(scene, tmp_path / "out", max_points=100)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told(scene, tmp_path):
    shares = []
    write_colmap(scene, tmp_path / "out", max_points=100, progress=shares.append)
    assert len(shares) > len(scene) and shares == sorted(shares) and shares[-1] == 1
