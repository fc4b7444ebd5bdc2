"""The way from an upload to a result."""

import dataclasses

import pytest

from space import upload_pipeline
from space.request import ClipRequest, Settings
from space.results import ResultFolders
from space.tasks import Task
from tests.helpers.posed import make_posed
from unish.errors import InputError
from unish.people.detection import Box
from unish.utils.assets import SAMPLE_CLIP


@pytest.mark.parametrize("depth_gain", [1.0, 1e9])
def test_a_scene_that_no_camera_can_see_is_refused(tmp_path, monkeypatch, depth_gain):
    scene = make_posed(4)
    scene = dataclasses.replace(scene, depth_m=scene.depth_m * depth_gain)
    monkeypatch.setattr(upload_pipeline, "reconstruct_on_gpu", lambda *arguments: scene)
    monkeypatch.setattr(upload_pipeline, "write_scene", lambda folders, scene, fit, upload, drawn: scene)
    request, settings = ClipRequest.of(SAMPLE_CLIP, 2, 0, 0.8), Settings("mini", fit="off")
    people, folders = upload_pipeline.marked((Box(1, 1, 9, 9),)), ResultFolders.beside(tmp_path / "files")
    task = Task("", 600)

    def reconstruct():
        return upload_pipeline.reconstruct_upload(request, people, settings, folders, task, task.progress)

    if depth_gain == 1:
        assert len(reconstruct()) == 4
    else:
        with pytest.raises(InputError, match="Expected a scene that a camera can see"):
            reconstruct()
