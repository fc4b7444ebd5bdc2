import json

import av
import cv2
import numpy as np
import pytest

from train.data.labelled_images import labelled_images
from train.data.prepare import label_images as module
from train.data.prepare.label_images import LabelImagesConfig, label_images, read_collections
from train.data.prepare.teachers import TeacherPeople
from unish.errors import InputError


class _Scripted:
    """Sees one person in every bright image."""

    name, sure_score = "scripted", 0.5

    def __init__(self):
        self.asked = 0

    def look(self, rgb):
        self.asked += 1
        bright = rgb.mean() > 100
        return TeacherPeople(np.array([[4.0, 5, 20, 30]])[: int(bright)], np.array([0.9])[: int(bright)])


@pytest.fixture
def teacher(monkeypatch):
    scripted = _Scripted()
    monkeypatch.setattr(module, "open_teacher", lambda text: scripted)
    return scripted


@pytest.fixture
def footage(tmp_path):
    """A folder with a bright and a dark image, and a video of nine bright frames."""
    folder = tmp_path / "footage"
    folder.mkdir()
    for name, level in (("dark", 20), ("bright", 200)):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((60, 90, 3), level, np.uint8))
    with av.open(str(tmp_path / "walk.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(9):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), 180, np.uint8), "rgb24")))
        container.mux(stream.encode())
    sources = [
        {"name": "images", "license": "CC0-1.0", "files": ["footage"]},
        {"name": "walks", "license": "CC-BY-4.0", "split": "validation", "every": 4, "files": ["walk.mp4"]},
    ]
    (tmp_path / "sources.json").write_text(json.dumps(sources))
    return tmp_path


def test_images_and_videos_become_a_data_set(footage, teacher):
    config = LabelImagesConfig(footage / "sources.json", footage / "out", ("scripted",), long_side_px=45)
    lines = label_images(config)
    bright, dark = labelled_images(footage / "out", "train")
    assert (bright.clip, dark.clip) == ("bright.png", "dark.png") and bright.source == "images (CC0-1.0)"
    assert bright.rgb().shape == (30, 45, 3) and bright.rgb().mean() == pytest.approx(200, abs=2)
    np.testing.assert_allclose(bright.boxes_px, [[4, 5, 20, 30]])
    assert bright.agreed.tolist() == [True] and bright.keypoints.shape == (1, 17, 3)
    assert dark.boxes_px.shape == (0, 4)
    assert [image.clip for image in labelled_images(footage / "out", "validation")] == ["walk.mp4"] * 3
    assert lines[0]["people"] == 1 and lines[0]["images_without_people"] == 1 and lines[1]["images"] == 3
    card = json.loads((footage / "out" / "sources.json").read_text())
    assert [row["license"] for row in card["collections"]] == ["CC0-1.0", "CC-BY-4.0"]


def test_finished_collections_are_kept(footage, teacher):
    config = LabelImagesConfig(footage / "sources.json", footage / "out", ("scripted",))
    label_images(config)
    asked = teacher.asked
    (footage / "out" / "validation" / "00001.parquet").unlink()
    label_images(config)
    assert asked == 5 and teacher.asked == 8


@pytest.mark.parametrize("text", ["{", "[]", '[{"name": "x"}]', '[{"name": "x", "license": "y", "file": []}]'])
def test_a_list_of_sources_that_is_none(tmp_path, text):
    (tmp_path / "sources.json").write_text(text)
    with pytest.raises(InputError):
        read_collections(tmp_path / "sources.json")


def test_footage_that_is_not_there(tmp_path, teacher):
    (tmp_path / "sources.json").write_text('[{"name": "x", "license": "y", "files": ["gone.mp4"]}]')
    with pytest.raises(InputError, match=r"gone\.mp4"):
        label_images(LabelImagesConfig(tmp_path / "sources.json", tmp_path / "out", ("scripted",)))


def test_a_data_set_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="label_images"):
        next(labelled_images(tmp_path, "train"))
