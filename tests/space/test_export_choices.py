"""Which files for other programs a visitor may choose, how, and that each choice reaches its formats."""

import importlib.machinery
import sys
import types
import zipfile
from pathlib import Path

import gradio as gr
import pytest

from space.downloads import write_exports
from space.layout import export_choices
from space.request import ExportChoices
from space.results import ResultFolders, write_scene
from space.updates import export_updates
from tests.helpers.posed import make_posed
from unish.analysis.fit_report import fit_report
from unish.errors import InputError
from unish.utils.assets import SAMPLE_CLIP


@pytest.fixture
def with_bpy(monkeypatch):
    """As if Blender's module were installed; whoever uses it fails."""
    module = types.ModuleType("bpy")
    module.__spec__ = importlib.machinery.ModuleSpec("bpy", None)
    monkeypatch.setitem(sys.modules, "bpy", module)


def visible(*formats: str) -> list[bool]:
    """Whether the scene of GLB and USD, that of FBX, and the names of its bones are to be chosen."""
    made, *options = export_updates(["bvh"], list(formats), [])
    assert not made.visible, "what was made before is of other choices"
    return [option.visible for option in options]


def test_a_choice_is_there_when_a_format_that_it_concerns_is(with_bpy):
    with gr.Blocks():
        form = export_choices()
    assert [option.visible for option in form.options] == [True, False, False] == visible("glb")
    assert visible() == [False] * 3 and visible("usda", "mesh") == [True, False, False]
    assert visible("fbx") == [False, True, True]
    values = [option.value for option in form.options]
    assert values == ["points", True, "ue5"], "what Blender shows with its colours, and what Unreal can retarget"
    for option in (form.scene, form.names):
        for _, value in option.choices:
            ExportChoices.of(
                ["glb"], value if option is form.scene else "", True, value if option is form.names else ""
            )


def test_without_its_package_no_mesh_is_offered(with_bpy, monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "fast_simplification" else object())
    with gr.Blocks():
        form = export_choices()
    assert not form.scene.visible and not form.fbx_scene.value
    assert visible("glb", "fbx") == [False, False, True]


@pytest.mark.parametrize(
    ("choices", "slug", "by_scene"),
    [
        ((("bvh", "glb"),), "glb-bvh", {"points": ["bvh", "glb"]}),
        ((("glb", "usd", "mesh"), "both"), "glb_both-usd_both-mesh", {"both": ["glb", "usd", "mesh"]}),
        ((("fbx", "npz"), "points", True, "ue5"), "fbx_ue5_scene-npz", {"mesh": ["fbx", "npz"]}),
        ((("glb", "fbx"), "both", True, "ue5"), "glb_both-fbx_ue5_scene", {"both": ["glb", "fbx"]}),
        ((("glb", "fbx"), "mesh", False, "mixamo"), "glb_mesh-fbx_mixamo", {"mesh": ["glb"], "points": ["fbx"]}),
        (
            (("mesh", "glb", "fbx"), "points", True, "smpl"),
            "glb-fbx_smpl_scene-mesh",
            {"mesh": ["mesh", "fbx"], "points": ["glb"]},
        ),
    ],
)
def test_files_of_other_choices_have_other_names_and_the_mesh_is_made_once(with_bpy, choices, slug, by_scene):
    chosen = ExportChoices(*choices)
    assert chosen.slug == slug and chosen.by_scene() == by_scene


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((["../evil"], "points", True, "ue5"), "Expected formats among"),
        ((["glb"], "../evil", True, "ue5"), "Scene must be one of points, mesh, both"),
        ((["glb"], ["mesh"], True, "ue5"), "Scene must be a text"),
        ((["glb"], "mesh", "yes", "ue5"), "yes or no for the scene in FBX"),
        ((["glb"], "mesh", True, "maya"), "Bone names must be one of"),
        ((["glb"], "mesh", True, {"a": 1}), "Bone names must be a text"),
    ],
)
def test_choices_that_cannot_be_get_a_sentence(values, sentence):
    with pytest.raises(InputError, match=sentence):
        ExportChoices.of(*values)
    assert ExportChoices.of(["glb"], None, None, None) == ExportChoices(("glb",))


def test_choices_reach_their_formats(with_bpy, tmp_path, monkeypatch):
    told, shares = {}, []

    def export(reconstruction, folder, formats, clip, progress, **how):
        progress(0.5, "Writing")
        (Path(folder) / "_".join(formats)).write_text("")
        told["-".join(formats)] = how | {"size": clip.frame_size}

    monkeypatch.setattr("space.downloads.export", export)
    scene = make_posed(4, people=1)
    result = write_scene(ResultFolders.beside(tmp_path / "served"), scene, fit_report(scene), SAMPLE_CLIP)
    chosen = ExportChoices(("glb", "bvh", "fbx"), "points", True, "mixamo")
    path = write_exports(result, chosen, lambda share, message: shares.append(share))
    assert path.name.endswith("_glb-fbx_mixamo_scene-bvh.zip")
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 2, "both passes are in it"
    whole = {"size": (640, 480), "names": "mixamo"}
    assert told == {"glb": whole | {"scene": "points"}, "bvh-fbx": whole | {"scene": "mesh"}}
    assert shares == pytest.approx([1 / 6, 2 / 3])
