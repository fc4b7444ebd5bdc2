"""`unish export` and `unish.export.export`: every format, and one sentence for what cannot be."""

import dataclasses
import json
import subprocess
import sys

import av
import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image

from tests.helpers.posed import make_posed
from unish.cli import main
from unish.errors import InputError
from unish.export import FORMATS, export, installed_formats
from unish.structures import Reconstruction

SIZE = (320, 240)
"""(width, height) of the clip; the network saw it at 80×60."""
RATE = 24
START_S, FPS = 0.5, 6.0
"""As in the helper's result: six frames from 0.5 s on, six a second."""


@pytest.fixture(scope="module")
def scene():
    return make_posed(6, 2)


@pytest.fixture
def result(scene, tmp_path):
    return scene.save(tmp_path / "result")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The video that the result could have been made from; frame k is grey, at level 4k."""
    return write_video(tmp_path_factory.mktemp("clip") / "walk.mp4", SIZE, 48)


def write_video(path, size, frames):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            picture = np.full((size[1], size[0], 3), 4 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def refused(arguments, capsys) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("unish: ")]
    return sentence


def test_every_format_of_the_list_is_written(result, tmp_path, capsys):
    assert set(FORMATS) == {
        "glb", "usd", "usda", "fbx", "bvh", "npz", "ply", "obj", "mesh", "robot", "colmap", "chan", "mp4", "webm"
    }  # fmt: skip
    formats = installed_formats()  # FBX needs a package that is not
    out = tmp_path / "out"
    words = ["--to", "all", "--out", str(out), "--max-points", "500", "--max-triangles", "2000"]
    assert main(["export", str(result), *words]) == 0
    said = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == sorted(one.target for one in formats.values())
    assert all(str(out / one.target) in said for one in formats.values()) and "--clip" in said
    absent = [name for name in FORMATS if name not in formats]
    assert not absent or f"packages are not installed: {', '.join(absent)}." in said
    glb = (out / "scene.glb").read_bytes()
    assert glb[:4] == b"glTF" and json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])["skins"]
    assert (out / "bvh" / "person_2.bvh").read_text().startswith("HIERARCHY")
    assert np.load(out / "npz" / "person_1_amass.npz")["poses"].shape == (6, 156)
    assert 100 < len(trimesh.load(out / "ply" / "scene.ply").vertices) <= 500
    assert len(trimesh.load(out / "obj" / "frame_00000.obj", process=False, force="mesh").faces) > 1000
    assert pycolmap.Reconstruction(out / "colmap" / "sparse" / "0").num_images() == 6
    with av.open(str(out / "overlay.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 6


def test_python_writes_the_same_and_says_how_far_it_is(result, tmp_path):
    scene = Reconstruction.load(result)
    steps = []
    written = export(
        scene, tmp_path / "python", ["ply", "bvh"], progress=lambda *step: steps.append(step), max_points=100
    )
    assert written == {"ply": tmp_path / "python" / "ply", "bvh": tmp_path / "python" / "bvh"}
    shares = [share for share, _ in steps]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and {"Writing ply", "Writing bvh"} <= {
        message for _, message in steps
    }  # fmt: skip
    assert main(["export", str(result), "--to", "ply, bvh", "--max-points", "100"]) == 0
    for path in sorted((tmp_path / "python").rglob("*.*")):
        assert path.read_bytes() == (result / "exports" / path.relative_to(tmp_path / "python")).read_bytes()


def test_the_clip_gives_pictures_at_its_resolution(result, clip, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["export", str(result), "--to", "colmap,mp4", "--out", str(out), "--clip", str(clip)]
    assert main([*arguments, "--max-points", "50"]) == 0
    assert "--clip" not in capsys.readouterr().out
    model = pycolmap.Reconstruction(out / "colmap" / "sparse" / "0")
    assert (model.cameras[1].width, model.cameras[1].height) == SIZE
    assert np.allclose(model.cameras[1].params, [280, 280, 160, 120])
    for index in range(6):
        picture = np.asarray(Image.open(out / "colmap" / "images" / f"frame_{index:05d}.jpg"))
        assert picture.shape == (SIZE[1], SIZE[0], 3)
        number = round((START_S + index / FPS) * RATE)
        assert abs(picture.mean() - 4 * number) < 2, "the frame that was shown at that moment"
    with av.open(str(out / "overlay.mp4")) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == SIZE
        count = len(list(video.decode(video=0)))
    assert 5 / FPS * RATE <= count <= 6 / FPS * RATE, "the clip's own rate"


def test_a_clip_of_1080_lines_is_exported_at_its_size(cases_dir, tmp_path, capsys):
    out, clip = tmp_path / "out", cases_dir / "clips" / "hd.mp4"
    result = make_posed(2, 1).save(tmp_path / "result")
    arguments = ["export", str(result), "--to", "colmap,mp4,bvh", "--out", str(out), "--clip", str(clip)]
    assert main([*arguments, "--max-points", "50"]) == 0
    said = capsys.readouterr()
    assert "--clip" not in said.out and "WARNING" not in said.err and "smaller" not in said.err
    model = pycolmap.Reconstruction(out / "colmap" / "sparse" / "0")
    assert (model.cameras[1].width, model.cameras[1].height) == (1440, 1080)
    assert np.allclose(model.cameras[1].params, [1260, 1260, 720, 540])
    for index in range(2):
        with Image.open(out / "colmap" / "images" / f"frame_{index:05d}.jpg") as image:
            assert image.size == (1440, 1080)
    with av.open(str(out / "overlay.mp4")) as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (1440, 1080)


def test_settings_reach_their_formats(result, tmp_path):
    out = tmp_path / "out"
    words = f"export {result} --to bvh,npz,obj,ply --out {out} --unit cm --person 2 --per-person --max-points 60"
    assert main(words.split()) == 0
    assert [path.name for path in (out / "bvh").iterdir()] == ["person_2.bvh"]
    assert sorted(path.name for path in (out / "npz").iterdir()) == ["person_2_amass.npz", "person_2_motion.npz"]
    assert len(list((out / "obj").glob("person_2_frame_*.obj"))) == len(list((out / "obj").glob("*.obj"))) == 4
    assert len(list((out / "ply" / "people").glob("person_2_frame_*.ply"))) == 4
    assert len(trimesh.load(out / "ply" / "scene.ply").vertices) <= 60
    heights = [float(line.split()[1]) for line in (out / "bvh" / "person_2.bvh").read_text().splitlines()[-6:]]
    assert 60 < np.mean(heights) < 200, "centimetres"


def test_leaving_somebody_out_leaves_them_out_of_the_scene_too(scene, tmp_path):
    """A person who is not asked for is nobody's mesh, and no wall either."""
    for name, person in (("all", ()), ("one", (2,))):
        export(scene, tmp_path / name, ["ply", "colmap"], max_points=400, person=person)
    for path in ("ply/scene.ply", "colmap/masks/frame_00000.png", "colmap/sparse/0/points3D.bin"):
        assert (tmp_path / "all" / path).read_bytes() == (tmp_path / "one" / path).read_bytes()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--to glb,c4d",
            f"Expected formats among {', '.join(FORMATS)}, got 'c4d'",
        ),
        ("--to ,", "Expected formats after --to, among glb"),
        ("--to glb --unit km", "km"),
        ("--to ply --max-points -1", "0 or more, got -1"),
        ("--to ply --max-points many", "many"),
        ("--to obj --person 9", "got 9, but it has only 1, 2"),
        ("--to glb --body nowhere.npz", "nowhere.npz"),
        ("--to colmap --clip nowhere.mp4", "nowhere.mp4"),
        ("", "--to"),
    ],
)
def test_choices_that_cannot_be(result, capsys, words, sentence):
    assert sentence in refused(["export", result, *words.split()], capsys)
    assert not (result / "exports").exists()


def test_what_is_no_result(tmp_path, capsys):
    assert "nowhere" in refused(["export", tmp_path / "nowhere", "--to", "ply"], capsys)
    assert list(tmp_path.iterdir()) == []


def test_another_clip(result, tmp_path, capsys):
    short = write_video(tmp_path / "short.mp4", SIZE, 20)
    sentence = refused(["export", result, "--to", "colmap", "--clip", short], capsys)
    assert "short.mp4 has no frame at 1.00 s" in sentence
    assert "short.mp4 has no frame at" in refused(["export", result, "--to", "mp4", "--clip", short], capsys)
    tall = write_video(tmp_path / "tall.mp4", SIZE[::-1], 48)
    assert "240×320" in refused(["export", result, "--to", "colmap", "--clip", tall], capsys)
    assert not (result / "exports" / "colmap").exists()


def test_what_exists_is_replaced_only_when_told(result, capsys):
    assert main(["export", str(result), "--to", "obj", "--person", "2", "--per-person"]) == 0
    folder = result / "exports" / "obj"
    before = sorted(path.name for path in folder.iterdir())
    assert "already exists. Give --overwrite" in refused(["export", result, "--to", "ply,obj"], capsys)
    assert sorted(path.name for path in folder.iterdir()) == before and not (result / "exports" / "ply").exists()
    assert main(["export", str(result), "--to", "obj", "--overwrite"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [*(f"frame_{k:05d}.obj" for k in range(6)), "people.mtl"]


@pytest.mark.parametrize("name", installed_formats())
def test_what_others_wrote_is_never_replaced(result, tmp_path, capsys, name):
    thesis = tmp_path / "out" / FORMATS[name].target / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    words = ["export", result, "--to", name, "--out", tmp_path / "out", "--overwrite"]
    assert "was not written by unish" in refused(words, capsys)
    assert thesis.read_text() == "years of work" and list(thesis.parent.iterdir()) == [thesis]


def test_nobody_to_write(scene, tmp_path):
    empty = dataclasses.replace(scene, people=())
    for name in ("bvh", "npz", "obj"):
        with pytest.raises(InputError, match=f"no people, so there is nothing to write as {name}"):
            export(empty, tmp_path, ["ply", name])
    assert list(tmp_path.iterdir()) == []
    export(empty, tmp_path, ["ply", "colmap", "glb", "mp4"], max_points=50)
    assert len(list(tmp_path.iterdir())) == 4


def test_ctrl_c_keeps_the_formats_that_are_finished(result, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("unish.export.colmap.write_text", interrupted)
    assert main(["export", str(result), "--to", "obj,colmap,ply", "--max-points", "50"]) == 130
    assert "holds the formats that were finished" in capsys.readouterr().err
    assert [path.name for path in (result / "exports").iterdir()] == ["obj"]


@pytest.mark.parametrize("name", ["bvh", "npz"])
def test_a_folder_of_one_file_a_person_is_whole_or_not_there(scene, tmp_path, monkeypatch, name):
    """The second person's file fails."""
    calls = []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return "" if name == "bvh" else {}

    monkeypatch.setattr(f"unish.export.{name}.{'_bvh' if name == 'bvh' else 'amass_arrays'}", failing)
    with pytest.raises(KeyboardInterrupt):
        export(scene, tmp_path, [name])
    assert len(calls) == 2 and list(tmp_path.iterdir()) == []


def test_the_list_of_formats_loads_nothing_heavy():
    code = "import unish.export, sys, json; print(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert not loaded & {"torch", "numpy", "cv2", "av", "scipy"}


def test_a_rate_that_one_format_refuses_is_said_before_another_is_written(result, capsys):
    sentence = refused(["export", result, "--to", "glb,robot", "--fps", "24"], capsys)
    assert "Expected 30 or 50 frames per second" in sentence
    assert not (result / "exports" / "scene.glb").exists()
