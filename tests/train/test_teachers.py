from types import SimpleNamespace

import numpy as np
import pytest
import torch

from train.data.prepare.graph_model import GraphModel
from train.data.prepare.teachers import MoveNet, NanoDet, TeacherPeople, consensus, open_teacher
from unish.errors import InputError, MissingAssetError
from unish.people.detector import TransformersDetector

BOX, SAME, OTHER = [10.0, 10, 30, 60], [12.0, 10, 32, 62], [60.0, 10, 80, 60]


def _people(*people, keypoints=False):
    boxes = np.array([box for box, _ in people]).reshape(-1, 4)
    points = np.ones((len(people), 17, 3)) if keypoints else None
    return TeacherPeople(boxes, np.array([score for _, score in people]), points)


def test_only_what_all_are_sure_of_is_a_person():
    together = consensus(
        [_people((BOX, 0.8), keypoints=True), _people((OTHER, 0.9), (SAME, 0.6))], sure_scores=[0.3, 0.5]
    )
    np.testing.assert_array_equal(together.agreed, [True, False])
    np.testing.assert_allclose(together.boxes_px, [np.mean([BOX, SAME], axis=0), OTHER])
    np.testing.assert_allclose(together.scores, [0.7, 0.45])
    assert together.keypoints[0].all() and not together.keypoints[1].any()


def test_a_weak_word_of_one_is_background_and_of_two_a_doubt():
    weak, alone = _people((BOX, 0.2)), _people((SAME, 0.2), (OTHER, 0.3))
    together = consensus([weak, alone], sure_scores=[0.5, 0.5])
    np.testing.assert_array_equal(together.agreed, [False])
    np.testing.assert_allclose(together.boxes_px[0], np.mean([BOX, SAME], axis=0))


def test_nobody_at_all():
    together = consensus([_people(), _people()], sure_scores=[0.5, 0.5])
    assert together.boxes_px.shape == (0, 4) and together.keypoints.shape == (0, 17, 3)
    (single,) = consensus([_people((BOX, 0.6))], sure_scores=[0.5]).agreed
    assert single


class _Graph(GraphModel):
    """A graph that gives the same output for every image, and records its inputs."""

    inputs = {"x": "x"}  # noqa: RUF012

    def __init__(self, output):
        self.output, self.shown = output, []

    def __call__(self, **feed):
        self.shown.append(feed["x"])
        return self.output


def test_movenet_is_read_in_pixels_of_the_image():
    """A person who fills the right half of a 200 × 100 image, which is shown at twice its size."""
    row = np.zeros(56, np.float32)
    row[:51] = np.tile([0.5, 0.75, 0.9], 17)  # y, x, score, as shares of the padded input
    row[51:] = [0.0, 0.5, 1.0, 1.0, 0.8]  # y0, x0, y1, x1, score
    people = np.zeros((1, 6, 56), np.float32)
    people[0, 0], people[0, 1] = row, row * [*[1] * 55, 0.5]
    graph = _Graph({"y": torch.from_numpy(people)})
    seen = MoveNet(graph, long_side_px=384).look(np.full((100, 200, 3), 200, np.uint8))
    assert graph.shown[0].shape == (1, 192, 384, 3) and graph.shown[0].dtype == torch.int32
    np.testing.assert_allclose(seen.boxes_px, [[100, 0, 200, 100]])  # the second says the same less surely
    np.testing.assert_allclose(seen.keypoints[0], np.tile([150, 50, 0.9], (17, 1)), rtol=1e-6)


def test_nanodet_is_read_in_pixels_of_the_image():
    """One cell of the coarsest grid (stride 32), whose edges are surely 1, 2, 3 and 4 steps away."""
    scores, edges = torch.zeros(1, 169, 80), torch.zeros(1, 169, 44)
    cell = 6 * 13 + 5
    scores[0, cell, 0], scores[0, cell, 16] = 0.7, 0.9  # a person; and a dog, which is nobody
    scores[0, 3, 16] = 0.9
    edges[0, cell, [0 * 11 + 1, 1 * 11 + 2, 2 * 11 + 3, 3 * 11 + 4]] = 50.0
    seen = NanoDet(_Graph({"a": edges, "b": scores})).look(np.zeros((832, 832, 3), np.uint8))
    x, y = 2 * 5.5 * 32, 2 * 6.5 * 32
    np.testing.assert_allclose(seen.boxes_px, [[x - 64, y - 128, x + 192, y + 256]], rtol=1e-5)
    np.testing.assert_allclose(seen.scores, [0.7], rtol=1e-6)


def test_teachers_are_named_with_their_source(tmp_path):
    with pytest.raises(InputError, match="movenet=SOURCE"):
        open_teacher("blazepose=x.json")
    with pytest.raises(InputError, match="received 'movenet'"):
        open_teacher("movenet")
    with pytest.raises(MissingAssetError):
        open_teacher(f"nanodet={tmp_path / 'nanodet.json'}")


def test_a_transformers_detector_is_a_teacher(monkeypatch):
    from train.data.prepare import teachers

    found = SimpleNamespace(boxes_px=np.array([BOX]), scores=np.array([0.9]))

    class Found(TransformersDetector):
        def __init__(self) -> None:
            pass

        def detect(self, frames):
            return (found,)

    monkeypatch.setattr(teachers, "load_detector", lambda source: Found())
    seen = open_teacher("transformers=folder").look(np.zeros((80, 90, 3), np.uint8))
    np.testing.assert_allclose(seen.boxes_px, [BOX])
    assert seen.keypoints is None
