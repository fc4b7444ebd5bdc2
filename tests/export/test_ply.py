"""PLY files as two other libraries read them."""

import dataclasses

import numpy as np
import pytest
import trimesh
from plyfile import PlyData

from tests.helpers.posed import make_posed
from unish.errors import InputError
from unish.export import ply
from unish.export.ply import write_ply
from unish.export.scene_points import scene_points
from unish.utils.colors import person_color


@pytest.fixture(scope="module")
def scene():
    """Two people; the second, with id 7, is not seen in frames 2 and 3."""
    posed = make_posed(6, 2)
    return dataclasses.replace(posed, people=(posed.people[0], dataclasses.replace(posed.people[1], id=7)))


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    return write_ply(scene, tmp_path_factory.mktemp("ply") / "out", max_points=3000)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_scene_cloud(scene, folder):
    cloud = trimesh.load(folder / "scene.ply")
    points = scene_points(scene, 3000)
    assert 1000 < len(points) <= 3000
    assert np.array_equal(np.asarray(cloud.vertices, np.float32), points.points_world)
    assert np.array_equal(np.asarray(cloud.colors)[:, :3], points.colors)
    floor = np.abs(points.points_world[:, 2]) < 1e-4
    assert floor.any() and cloud.vertices[:, 2].min() > -1e-4, "z is up and the floor at z = 0"


def test_a_frames_points_are_all_its_trusted_pixels(scene, tmp_path):
    confidence = scene.confidence.copy()
    confidence[4, :20] = 0.05
    folder = write_ply(dataclasses.replace(scene, confidence=confidence), tmp_path / "out", max_points=10)
    vertices = PlyData.read(folder / "points" / "frame_00004.ply")["vertex"]
    assert [(one.name, one.val_dtype) for one in vertices.properties] == [
        *((axis, "f4") for axis in "xyz"), *((color, "u1") for color in ("red", "green", "blue")),
        ("confidence", "f4"), ("person", "i4"),
    ]  # fmt: skip
    points = np.stack([vertices[axis] for axis in "xyz"], -1)
    assert np.array_equal(points, scene.points_world(4)[20:].reshape(-1, 3))
    assert np.array_equal(np.stack([vertices[name] for name in ("red", "green", "blue")], -1),
                          scene.images[4, 20:].reshape(-1, 3))  # fmt: skip
    assert np.array_equal(vertices["person"], np.array([0, 1, 7])[scene.person_mask[4, 20:].reshape(-1)])
    assert set(vertices["person"]) == {0, 1, 7}


def test_meshes_are_those_of_the_people_seen(scene, folder):
    for frame in range(len(scene)):
        mesh = trimesh.load(folder / "people" / f"frame_{frame:05d}.ply", process=False)
        seen = [person for person in scene.people if person.present[frame]]
        assert len(seen) == (1 if frame in (2, 3) else 2)
        assert np.array_equal(mesh.vertices, np.concatenate([one.vertices_world[frame] for one in seen]))
        count = len(scene.people[0].vertices_world[frame])
        assert np.array_equal(mesh.faces, np.concatenate([scene.faces + count * k for k in range(len(seen))]))
        colors = mesh.visual.vertex_colors
        for k, person in enumerate(seen):
            assert (colors[k * count : (k + 1) * count, :3] == person_color(person.id)).all()


def test_a_file_a_person(scene, tmp_path):
    folder = write_ply(scene, tmp_path / "out", max_points=10, person=(7,), per_person=True)
    assert names(folder / "people") == [f"person_7_frame_{frame:05d}.ply" for frame in (0, 1, 4, 5)]
    mesh = trimesh.load(folder / "people" / "person_7_frame_00004.ply", process=False)
    assert np.array_equal(mesh.vertices, scene.people[1].vertices_world[4]), "absent frames do not move the count"
    assert (mesh.visual.vertex_colors[:, :3] == person_color(7)).all(), "a person keeps the colour of the viewer"
    assert len(names(folder / "points")) == len(scene)


def test_people_whose_meshes_are_not_asked_for_stay_in_the_frames_points(scene, folder, tmp_path):
    one = write_ply(scene, tmp_path / "out", max_points=10, person=(7,))
    name = "points/frame_00000.ply"
    assert (one / name).read_bytes() == (folder / name).read_bytes()


def test_a_result_without_people(scene, tmp_path):
    folder = write_ply(dataclasses.replace(scene, people=()), tmp_path / "out", max_points=10)
    assert names(folder / "people") == [] and len(names(folder / "points")) == len(scene)


def test_nobody_by_that_id(scene, tmp_path):
    with pytest.raises(InputError, match="got 2, but it has only 1, 7"):
        write_ply(scene, tmp_path / "out", person=(2,))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_folder_alone(scene, tmp_path, monkeypatch):
    old = tmp_path / "out" / "old.txt"
    old.parent.mkdir()
    old.write_text("old")
    write, calls = ply.write_meshes, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(ply, "write_meshes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_ply(scene, tmp_path / "out")
    assert names(tmp_path) == ["out"] and old.read_text() == "old"
    monkeypatch.undo()
    shares = []
    write_ply(scene, tmp_path / "out", max_points=10, progress=shares.append)
    assert names(tmp_path / "out") == ["old.txt", "people", "points", "scene.ply"], "the user's file stays"
    assert shares == sorted(shares) and shares[-1] == 1
