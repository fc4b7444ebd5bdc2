"""The network against numbers of the released one: every stored tensor, every name and shape."""

import json

import pytest
import torch
from safetensors.torch import load_file

from unish.models import convert
from unish.models.config import RELEASE
from unish.models.unish import UniSH

TOLERANCE = 1e-5


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    assert value.shape == expected.shape
    return ((value.double() - expected.double()).norm() / expected.double().norm()).item()


@torch.inference_mode()
def test_every_stored_tensor_of_the_shallow_network(shallow, reference_dir):
    stored = load_file(reference_dir / "network_shallow.safetensors")
    images, crops, boxes = (stored.pop(f"input.{name}") for name in ("images", "crops", "bbox_info"))
    scene = shallow.scene(images)
    backbone = shallow.human_branch.features(crops[0])
    prediction = shallow(images, crops[:, None], boxes[:, None], fps=6.0)
    ours = {
        "scene.hidden": scene.hidden[0],
        "human.features": backbone.mT.unflatten(2, (16, 12)),
        "out.points_local": prediction.points_camera,
        "out.confidence": prediction.confidence,
        "out.camera_to_world": scene.camera_to_world,
        "out.world_from_camera": prediction.world_from_camera,
        "out.body_rotations": prediction.body_rotations[:, 0],
        "out.betas": prediction.betas[:, 0],
        "out.scale": prediction.scale,
        "out.translation": prediction.translation_camera[:, 0],
    }
    assert set(ours) == set(stored)
    errors = {name: relative_error(ours[name], expected) for name, expected in stored.items()}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("fps", [6.0, 12.0, 3.0, 0.1])
@torch.inference_mode()
def test_alignment_at_each_frame_rate(shallow, reference_dir, fps):
    stored = load_file(reference_dir / "alignnet_time.safetensors")
    scale, translation = shallow.align_net(stored["input.hidden"], stored["input.human_tokens"][:, None], fps)
    assert relative_error(scale, stored[f"fps_{fps}.scale"]) < TOLERANCE
    assert relative_error(translation[:, 0], stored[f"fps_{fps}.translation"]) < TOLERANCE


def test_names_and_shapes_of_the_release_both_ways(reference_dir):
    released = {
        name: tuple(shape) for name, shape in json.loads((reference_dir / "release_keys.json").read_text()).items()
    }
    with torch.device("meta"):
        ours = UniSH(RELEASE).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in convert.to_official(ours).items()} == released
    back = convert.from_official({name: torch.empty(shape, device="meta") for name, shape in released.items()})
    assert {name: tensor.shape for name, tensor in back.items()} == {name: t.shape for name, t in ours.items()}


@torch.inference_mode()
def test_two_people_together_are_each_alone(shallow, reference_dir):
    stored = load_file(reference_dir / "network_shallow.safetensors")
    crops = torch.stack([stored["input.crops"], stored["input.crops"].flip(-1) ** 2], dim=1)
    boxes = torch.stack([stored["input.bbox_info"], -stored["input.bbox_info"]], dim=1)
    scene = shallow.scene(stored["input.images"][..., :28, :42])
    together = shallow.people(scene, crops, boxes, fps=12.0)
    assert relative_error(together.scale[:, :1], together.scale[:, 1:]) > 1e-3
    for person in range(2):
        pick = slice(person, person + 1)
        alone = shallow.people(scene, crops[:, pick], boxes[:, pick], fps=12.0)
        for name, value in vars(alone).items():
            assert relative_error(getattr(together, name)[:, pick], value) < TOLERANCE, name
