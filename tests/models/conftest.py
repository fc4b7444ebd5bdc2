"""Networks that the model tests share: the released one cut to few blocks, with seeded weights, and tiny ones."""

import dataclasses
import importlib.util
import json

import pytest
import torch
from safetensors import safe_open

from unish.models import convert
from unish.models.config import MINI, RELEASE, UniSHConfig
from unish.models.unish import UniSH

TINY = UniSHConfig(
    scene=dataclasses.replace(
        MINI.scene, width=32, encoder_heads=2, encoder_depth=1, encoder_registers=2,
        decoder_heads=2, decoder_depth=2, head_width=32,
        head_heads=2, camera_width=16, stem_channels=4, refine_channels=4, image_long_side_px=56, position_grid=4,
    ),
    human=dataclasses.replace(
        MINI.human, width=32, heads=2, depth=1, head_width=32, head_depth=1, head_heads=2, head_head_width=16,
        head_hidden=32, stem_channels=4,
    ),
    align=dataclasses.replace(MINI.align, width=32, hidden=32, heads=2, dropout=0.0),
)  # fmt: skip


def cut(config: UniSHConfig, depths: dict[str, int]) -> UniSHConfig:
    scene = dataclasses.replace(
        config.scene, encoder_depth=depths["encoder"], decoder_depth=depths["decoder"], head_depth=depths["heads"]
    )
    human = dataclasses.replace(config.human, depth=depths["human_backbone"], head_depth=depths["human_decoder"])
    return UniSHConfig(scene, human, dataclasses.replace(config.align, depth=depths["align"]))


@pytest.fixture(scope="session")
def shallow(reference_dir) -> UniSH:
    """The released network with few blocks and the weights that the reference numbers were made with."""
    spec = importlib.util.spec_from_file_location("seeded_weights", reference_dir / "seeded_weights.py")
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    with safe_open(reference_dir / "network_shallow.safetensors", "pt") as file:
        depths = json.loads(file.metadata()["depths"])
    with torch.device("meta"):
        model = UniSH(cut(RELEASE, depths))
    state = {
        name: torch.from_numpy(seeded.seeded_tensor(name, tuple(tensor.shape)).copy())
        for name, tensor in convert.to_official(model.state_dict()).items()
    }
    model.load_state_dict(convert.from_official(state), assign=True)
    return model.eval()


@pytest.fixture(scope="session")
def mini() -> UniSH:
    torch.manual_seed(0)
    return UniSH(MINI).eval()


@pytest.fixture
def tiny() -> UniSH:
    torch.manual_seed(0)
    return UniSH(TINY).eval()


def clip(batch: int, people: int, frames: int, height: int, width: int, seed: int = 0):
    """Random images, crops and box numbers."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(batch, frames, 3, height, width, generator=generator)
    crops = torch.rand(batch, people, frames, 3, 256, 256, generator=generator)
    boxes = 0.3 * torch.randn(batch, people, frames, 3, generator=generator)
    boxes[..., 2] = 0.2 + boxes[..., 2].abs()
    return images, crops, boxes
