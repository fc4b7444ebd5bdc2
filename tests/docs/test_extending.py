"""The examples of docs/extending.md: put into a copy of the package as the page says, and used."""

import csv
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.docs.pages import Block, blocks
from tests.helpers.reconstructions import make_reconstruction
from unish.structures import Reconstruction

FRAMES, HEIGHT, WIDTH = 8, 96, 128


def apply(patch: Block, root: Path) -> None:
    """Changes the file that the patch names: its old lines must be there, in a row, once."""
    path, lines = root / patch.path, patch.code.splitlines()[1:]
    old = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
    new = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("-"))
    text = path.read_text()
    assert text.count(old) == 1, f"{patch.path} has changed; {old!r} is there {text.count(old)} times"
    path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def extended(repository, tmp_path_factory) -> Path:
    """A folder with the package and the page's examples in it."""
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(repository / "unish", root / "unish", ignore=shutil.ignore_patterns("__pycache__"))
    page = repository / "docs" / "extending.md"
    files = [block for block in blocks(page, "python") if block.path]
    patches = blocks(page, "diff")
    assert len(files) == 4 and len(patches) == 6
    for block in files:
        assert not (root / block.path).exists()
        (root / block.path).write_text(block.code)
    for patch in patches:
        apply(patch, root)
    return root


def run(root: Path, code: str) -> str:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(root)}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def write_thermal_clip(path: Path) -> None:
    """Two bright people in front of a dim wall, walking apart, and a spark that is nobody."""
    noise = np.random.default_rng(0).integers(20, 60, (HEIGHT, WIDTH, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=6)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", {"crf": "5"}
        for k in range(FRAMES):
            picture = noise.copy()
            for x in (30 - 2 * k, 80 + 2 * k):
                picture[20:80, x : x + 20] = 240
            picture[5:8, 60:63] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())


def test_finder_body_and_exporter_in_python_and_from_the_command_line(extended, repository):
    write_thermal_clip(extended / "thermal.mp4")
    (snippet,) = (block.code for block in blocks(repository / "docs" / "extending.md", "python") if not block.path)
    commands = """
        from unish.cli import main
        assert main("run thermal.mp4 --out out --finder warm --body bones --weights mini".split()) == 0
        assert main("export out --to csv,obj".split()) == 0
        assert (scene.provenance.finder, len(scene.people)) == ("warm", 2)
    """
    run(extended, snippet + textwrap.dedent(commands))
    scene = Reconstruction.load(extended / "out")
    assert (scene.provenance.finder, scene.provenance.body) == ("warm", "bones")
    assert len(scene.people) == 2 and all(person.present.all() for person in scene.people)
    assert scene.people[0].vertices_world.shape == (FRAMES, 116, 3)
    for person in scene.people:
        x0, y0, x1, y1 = person.boxes_px[0] * (WIDTH / scene.cameras.width_px)
        assert abs(y0 - 20) < 3 and abs(y1 - 80) < 3 and abs(x1 - x0 - 20) < 3
        np.testing.assert_allclose(person.vertices_world[:, :24], person.joints_world, atol=1e-5)
    with (extended / "out" / "exports" / "joints.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * FRAMES * 24 and {row["person"] for row in rows} == {"1", "2"}
    assert rows[0]["joint"] == "pelvis"
    place = [float(rows[0][axis]) for axis in ("x_m", "y_m", "z_m")]
    np.testing.assert_allclose(place, scene.people[0].joints_world[0, 0], atol=6e-5)
    assert len(list((extended / "out" / "exports" / "obj").glob("*.obj"))) == FRAMES


def test_the_body_is_closed_and_its_joints_are_the_open_bodys(extended):
    said = run(
        extended,
        """
        import json, torch
        from unish.body import BodyModel, open_body
        from unish.body.bones import read_bones
        from unish.geometry.rotations import axis_angle_to_matrix
        bones, whole = BodyModel(read_bones()), open_body()
        draw = torch.Generator().manual_seed(0)
        betas, place = torch.randn(10, generator=draw), torch.randn(3, generator=draw)
        turns = axis_angle_to_matrix(torch.randn(24, 3, generator=draw))
        apart = (bones(betas, turns, place).joints - whole(betas, turns, place).joints).abs().max()
        a, b, c = bones.template[bones.faces].unbind(1)
        volume = (a * torch.linalg.cross(b, c)).sum() / 6
        edges = {(int(f[k]), int(f[(k + 1) % 3])) for f in bones.faces for k in range(3)}
        open_edges = sum((after, here) not in edges for here, after in edges)
        print(json.dumps([float(apart), float(volume), open_edges]))
        """,
    )
    apart_m, volume_m3, open_edges = json.loads(said)
    assert apart_m < 1e-5 and volume_m3 > 1e-4 and open_edges == 0


def test_a_benchmark_from_the_command_line(extended, repository):
    """The truth as a prediction makes no error; with every other column too far it makes some."""
    true = make_reconstruction(frames=4)
    true.cameras.world_from_camera[:, 1, 3] = (0, 0.3, 0.1, 0.2)
    folder = extended / "yard" / "gate"
    folder.mkdir(parents=True)
    for frame in range(len(true)):
        Image.fromarray(true.images[frame]).save(folder / f"{frame:03d}.png")
        np.save(folder / f"{frame:03d}.npy", true.depth_m[frame])
    np.savetxt(folder / "cameras.txt", true.cameras.world_from_camera.reshape(-1, 16))
    true.save(extended / "right" / "gate")
    true.depth_m[:, :, ::2] *= 1.3
    true.save(extended / "wrong" / "gate")
    run(
        extended,
        """
        from unish.cli import main
        for name in ("right", "wrong"):
            assert main(f"eval yard --root yard --predictions {name} --out table_{name}".split()) == 0
        assert main("eval yard --root out_of_place --predictions right".split()) == 2
        """,
    )
    right, wrong = (
        json.loads((extended / f"table_{name}" / "table.json").read_text())["rows"][0]["numbers"]
        for name in ("right", "wrong")
    )
    assert set(right) == {"abs_rel", "delta_125", "ate_m"}
    assert right["abs_rel"] < 1e-5 and right["ate_m"] < 1e-5 and right["delta_125"] == 1
    assert wrong["abs_rel"] > 0.1 and wrong["delta_125"] < 1
