"""MoGe behind the depth protocol, by a stand-in that answers as it does, and the lens."""

import sys
import types

import numpy as np
import pytest
import torch

from train.data.prepare.depth import depth_labeller, intrinsics_of_fov
from unish.errors import MissingAssetError, MissingDependencyError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)


def test_field_of_view_is_along_the_longer_side():
    wide, high = intrinsics_of_fov(90, 2, 640, 480), intrinsics_of_fov(90, 2, 480, 640)
    assert wide.shape == (2, 3, 3) and wide[0, 0, 0] == pytest.approx(320) == high[1, 0, 0]
    np.testing.assert_allclose(wide[0, :2, 2], [320, 240])


class FakeMoGe(torch.nn.Module):
    """Answers as MoGe-2's `infer` does: each frame its own lens unless one is given; infinity where masked."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.asked: list[tuple[int, float | None]] = []

    @classmethod
    def from_pretrained(cls, repository, **options):
        if repository == "somebody/nothing":
            raise OSError("404 not found\nlong story")
        cls.repository = repository
        return cls()

    def infer(self, image, num_tokens=None, resolution_level=9, force_projection=True, apply_mask=True, fov_x=None,
              use_fp16=True):  # fmt: skip
        assert image.ndim == 4 and image.shape[1] == 3 and image.min() >= 0 and image.max() <= 1 and not use_fp16
        count, height, width = len(image), *image.shape[-2:]
        self.asked.append((count, fov_x))
        # What a frame says of the lens hangs on its brightness; the largest errs wildly.
        own = 50 + 20 * image.mean(dim=(1, 2, 3)) + 60 * (image[:, 0, 0, 0] == 1)
        fov = own if fov_x is None else torch.full((count,), float(fov_x))
        focal_x = 0.5 / torch.tan(torch.deg2rad(fov) / 2)
        intrinsics = torch.eye(3).repeat(count, 1, 1)
        intrinsics[:, 0, 0], intrinsics[:, 1, 1] = focal_x, focal_x * width / height
        intrinsics[:, :2, 2] = 0.5
        depth = (2 * focal_x)[:, None, None].expand(count, height, width).clone()
        mask = torch.ones_like(depth, dtype=torch.bool)
        mask[:, : height // 4] = False
        depth[~mask] = torch.inf
        return {
            "depth": depth,
            "mask": mask,
            "intrinsics": intrinsics,
            "points": depth[..., None].expand(-1, -1, -1, 3),
        }


@pytest.fixture
def moge(monkeypatch):
    for name in ("moge", "moge.model", "moge.model.v2", "moge.model.v3"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["moge.model.v2"].MoGeModel = FakeMoGe
    sys.modules["moge.model.v3"].MoGeModel = type("FakeMoGe3", (FakeMoGe,), {})


def test_moge_gives_every_frame_the_lens_of_the_clip(moge, frames):
    marked = frames.copy()
    marked[:, 0, 0, 0] = 0
    marked[3, 0, 0, 0] = 255  # this frame's guess is far off
    labeller = depth_labeller("moge", CPU, batch=2)
    labels = labeller.label(marked)
    assert labeller.name == FakeMoGe.repository == "Ruicheng/moge-2-vitl"
    assert labels.intrinsics.dtype == np.float32 and (labels.intrinsics == labels.intrinsics[0]).all()
    guesses = 50 + 20 * marked.mean(axis=(1, 2, 3)) / 255 + 60 * (np.arange(5) == 3)
    focal = 32 / np.tan(np.deg2rad(np.median(guesses)) / 2)
    np.testing.assert_allclose(labels.intrinsics[0], [[focal, 0, 32], [0, focal, 24], [0, 0, 1]], rtol=1e-4)
    assert (labels.depth_m[:, :12] == 0).all()  # masked: not known
    np.testing.assert_allclose(labels.depth_m[:, 12:], 2 * focal / 64, rtol=1e-4)
    first, second = labeller.model.asked[:3], labeller.model.asked[3:]
    assert [count for count, _ in first] == [count for count, _ in second] == [2, 2, 1]
    assert all(fov is None for _, fov in first) and all(fov is not None for _, fov in second)


def test_moge_with_a_known_lens_is_asked_once(moge, frames):
    labeller = depth_labeller("moge:somebody/other-moge", CPU, fov_deg=90, batch=8)
    upright = frames.transpose(0, 2, 1, 3).copy()
    labels = labeller.label(upright)
    assert labeller.name == "somebody/other-moge"
    assert [count for count, _ in labeller.model.asked] == [5]
    np.testing.assert_allclose(labels.intrinsics, intrinsics_of_fov(90, 5, 48, 64), rtol=1e-5)


@pytest.mark.parametrize(
    ("choice", "version", "repository"),
    [
        ("moge", "v2", "Ruicheng/moge-2-vitl"),
        ("moge-3", "v3", "Ruicheng/moge-3-vitl"),
        ("moge-3:somebody/finer", "v3", "somebody/finer"),
    ],
)
def test_both_versions_of_moge(moge, frames, choice, version, repository):
    labeller = depth_labeller(choice, CPU, fov_deg=90)
    assert type(labeller.model) is sys.modules[f"moge.model.{version}"].MoGeModel
    assert labeller.name == repository == type(labeller.model).repository
    assert (labeller.label(frames).depth_m[:, 12:] > 0).all()


def test_moge_that_cannot_be_had(moge):
    with pytest.raises(MissingAssetError, match="404 not found"):
        depth_labeller("moge:somebody/nothing", CPU)


def test_moge_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "moge", None)
    for choice in ("moge", "moge-3"):
        with pytest.raises(MissingDependencyError, match=r"pip install git\+https://github\.com/microsoft/MoGe"):
            depth_labeller(choice, CPU)
