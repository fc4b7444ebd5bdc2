"""Our own skinning against smplx, its gradients, and the rule that moves a translation."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.body.bodies import made_up_arrays, random_pose
from unish.body import BodyModel, move_translation, open_body
from unish.body.data import check_arrays
from unish.body.smplx_body import SmplxBody


@pytest.fixture(scope="module")
def made_up() -> tuple[BodyModel, SmplxBody]:
    data = check_arrays("made up", made_up_arrays(), "here")
    return BodyModel(data).double(), SmplxBody(data).double()


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3)])
def test_own_skinning_equals_smplx_with_pose_directions(made_up, batch) -> None:
    own, reference = (body(*random_pose(*batch)) for body in made_up)
    assert own.vertices.shape == (*batch, 40, 3) and own.joints.shape == (*batch, 24, 3)
    torch.testing.assert_close(own.vertices, reference.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(own.joints, reference.joints, atol=1e-6, rtol=0)


def test_open_body_equals_smplx_on_the_same_data() -> None:
    from unish.body.open_body import read_open_body

    pose = random_pose(2)
    own, reference = open_body().double()(*pose), SmplxBody(read_open_body()).double()(*pose)
    torch.testing.assert_close(own.vertices, reference.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(own.joints, reference.joints, atol=1e-6, rtol=0)


def test_one_shape_serves_many_frames(made_up) -> None:
    betas, rotations, translation = random_pose(2, 3)
    betas = betas[:, :1]
    for body in made_up:
        together = body(betas, rotations, translation).vertices
        alone = body(betas[1, 0], rotations[1, 2], translation[1, 2]).vertices
        torch.testing.assert_close(together[1, 2], alone)


def test_gradients_are_those_of_finite_differences(made_up) -> None:
    body, _ = made_up
    betas, rotations, translation = random_pose()

    def some(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posed = body(*inputs)
        return posed.vertices[:4], posed.joints

    inputs = tuple(tensor.clone().requires_grad_() for tensor in (betas, rotations, translation))
    assert torch.autograd.gradcheck(some, inputs, fast_mode=True)


def test_pelvis_is_where_pelvis_offset_says(made_up) -> None:
    body, _ = made_up
    betas, rotations, translation = random_pose(4)
    joints = body(betas, rotations, translation).joints
    torch.testing.assert_close(joints[:, 0], body.pelvis_offset(betas) + translation)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_moved_translation_moves_every_vertex_rigidly(seed: int) -> None:
    body = BodyModel(check_arrays("made up", made_up_arrays(), "here")).double()
    betas, rotations, translation = random_pose(2, seed=seed)
    _, motion, shift = random_pose(2, seed=seed + 1)
    turn = motion[:, 0]
    before = body(betas, rotations, translation)
    moved = move_translation(turn, shift, translation, body.pelvis_offset(betas))
    turned = torch.cat([(turn @ rotations[:, 0])[:, None], rotations[:, 1:]], dim=1)
    after = body(betas, turned, moved)
    for then, now in ((before.vertices, after.vertices), (before.joints, after.joints)):
        torch.testing.assert_close(now, then @ turn.mT + shift[:, None])


def test_body_keeps_out_of_checkpoints_and_follows_the_type() -> None:
    body = open_body()
    assert not body.state_dict()
    assert body.double().template.dtype == torch.float64 and body.faces.dtype == torch.int64
