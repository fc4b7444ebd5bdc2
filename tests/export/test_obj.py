"""OBJ files as another library reads them."""

import dataclasses

import numpy as np
import pytest
import trimesh

from tests.helpers.posed import make_posed
from unish.errors import InputError
from unish.export import obj
from unish.export.obj import write_obj
from unish.utils.colors import person_color

PRECISION_M = 0.6e-5


@pytest.fixture(scope="module")
def scene():
    """Two people; the second, with id 7, is not seen in frames 2 and 3."""
    posed = make_posed(6, 2)
    return dataclasses.replace(posed, people=(posed.people[0], dataclasses.replace(posed.people[1], id=7)))


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    return write_obj(scene, tmp_path_factory.mktemp("obj") / "out")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def meshes(path) -> dict[str, trimesh.Trimesh]:
    """The objects of a file by name, their vertices in the file's order."""
    loaded = trimesh.load(path, split_objects=True, group_material=False, process=False, maintain_order=True)
    return dict(loaded.geometry) if isinstance(loaded, trimesh.Scene) else {"": loaded}


def test_every_person_is_an_object_of_the_frame(scene, folder):
    assert names(folder) == [*(f"frame_{frame:05d}.obj" for frame in range(6)), "people.mtl"]
    for frame in range(len(scene)):
        seen = {f"person_{one.id}": one for one in scene.people if one.present[frame]}
        found = meshes(folder / f"frame_{frame:05d}.obj")
        assert len(found) == len(seen) == (1 if frame in (2, 3) else 2)
        for name, mesh in found.items():
            person = seen[name] if len(seen) > 1 else scene.people[0]
            x, y, z = person.vertices_world[frame].T
            corners = np.stack([x, z, -y], -1)[scene.faces]
            assert np.abs(mesh.triangles - corners).max() < PRECISION_M


def test_y_is_up(scene, folder):
    """The people stand: what is highest along y is a head, and it is as high as in the world."""
    mesh = trimesh.load(folder / "frame_00002.obj", process=False)
    person = scene.people[0]
    assert mesh.vertices[:, 1].max() == pytest.approx(person.vertices_world[2, :, 2].max(), abs=1e-5)
    assert mesh.vertices[:, 1].max() > 1.4 and np.ptp(mesh.vertices[:, 1]) > 1.4


def test_faces_look_outwards(scene, folder):
    """Turning the world is no mirroring."""
    mesh = trimesh.load(folder / "frame_00002.obj", process=False)
    world = trimesh.Trimesh(scene.people[0].vertices_world[2], scene.faces, process=False)
    assert mesh.volume == pytest.approx(world.volume, rel=1e-3) and mesh.volume > 0.02


def test_materials_have_the_viewers_colours(folder):
    text = (folder / "people.mtl").read_text().split()
    for person, name in ((1, "person_1"), (7, "person_7")):
        start = text.index(name)
        assert text[start - 1] == "newmtl" and text[start + 1] == "Kd"
        assert np.allclose(np.array(text[start + 2 : start + 5], float) * 255, person_color(person), atol=0.1)
    mesh = trimesh.load(folder / "frame_00002.obj", process=False)
    assert tuple(mesh.visual.material.main_color[:3]) == person_color(1)


def test_a_file_a_person(scene, tmp_path):
    folder = write_obj(scene, tmp_path / "out", person=(7,), per_person=True)
    assert names(folder) == ["people.mtl", *(f"person_7_frame_{frame:05d}.obj" for frame in (0, 1, 4, 5))]
    mesh = trimesh.load(folder / "person_7_frame_00004.obj", process=False, maintain_order=True)
    assert np.abs(mesh.vertices[:, 1] - scene.people[1].vertices_world[4, :, 2]).max() < PRECISION_M
    assert tuple(mesh.visual.material.main_color[:3]) == person_color(7)


def test_nobody_by_that_id(scene, tmp_path):
    with pytest.raises(InputError, match="got 3, but it has only 1, 7"):
        write_obj(scene, tmp_path / "out", person=(3,))
    with pytest.raises(InputError, match="it has no people"):
        write_obj(dataclasses.replace(scene, people=()), tmp_path / "out", person=(3,))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(scene, tmp_path, monkeypatch):
    calls = []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return "v 0 0 0\n"

    monkeypatch.setattr(obj, "_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_obj(scene, tmp_path / "out")
    assert len(calls) == 3 and list(tmp_path.iterdir()) == []
