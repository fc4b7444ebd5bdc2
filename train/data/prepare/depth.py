"""Metric depth of single frames by somebody else's network: MoGe, or any metric depth model of transformers.

MoGe-2 (Wang et al. 2025) and MoGe-3 give the camera's field of view too, one per frame; a clip has one lens, so the
median is given back to it for all frames. Of the transformers models only DepthPro does so.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional

from train.data.prepare.relative_depth import DepthTeacher, open_depth_teacher, stored_depth
from unish.errors import InputError, MissingAssetError, MissingDependencyError

MOGE = {"moge": ("moge.model.v2", "Ruicheng/moge-2-vitl"), "moge-3": ("moge.model.v3", "Ruicheng/moge-3-vitl")}
"""Names of MoGe's versions → their module and the weights that are taken unless others are named."""
RELATIVE = "relative"
"""Before a colon and the name of a teacher of relative depth."""
_METRIC_TYPES = ("depth_pro", "zoedepth", "glpn")
"""Model types of transformers that answer in metres whatever their configuration says."""
_LENS_FRAMES = 8
"""Frames of a clip that are asked for the field of view."""


@dataclass(frozen=True)
class DepthLabels:
    """What a network says of the frames of one clip."""

    depth_m: Float32[np.ndarray, "frames height width"]
    """Distance along the camera's axis, metres; 0 where not known."""
    intrinsics: Float32[np.ndarray, "frames 3 3"] | None
    """Pixels of the frames, the same in all of them; None where the network says nothing of the lens."""


@runtime_checkable
class DepthLabeller(Protocol):
    """Says how far away everything in the frames of a clip is."""

    @property
    def name(self) -> str:
        """What the labels say about who made them."""
        ...

    def label(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> DepthLabels:
        """Depth, and perhaps the lens, of the frames of one clip."""
        ...


def depth_labeller(choice: str, device: torch.device, fov_deg: float | None = None, batch: int = 4) -> DepthLabeller:
    """The labeller of a name: "moge" or "moge-3" (or that, a colon, and a repository or file), "relative:TEACHER" (see
    `train.data.prepare.relative_depth`), else a transformers model's id or folder.

    `fov_deg`: field of view along the longer side of the image where it is known, degrees. `batch`: frames at once.

    Raises:
        MissingDependencyError: the network's package is not installed.
        MissingAssetError: the network cannot be found.
        InputError: it does not answer in metres and is not named as relative, or no teacher is named.
    """
    version, _, repository = choice.partition(":")
    if version in MOGE:
        return MoGeDepth.load(version, repository or MOGE[version][1], device, fov_deg, batch)
    if version == RELATIVE:
        if not repository:
            raise InputError("Expected relative:TEACHER, got no teacher; give an ONNX file or a transformers model.")
        return RelativeDepth(open_depth_teacher(repository), f"{RELATIVE}:{Path(repository).name}", fov_deg)
    return TransformersDepth.load(choice, device, fov_deg, batch)


def intrinsics_of_fov(fov_deg: float, frames: int, width: int, height: int) -> Float32[np.ndarray, "frames 3 3"]:
    """Centred cameras with square pixels and this field of view along the longer side of the image."""
    focal = 0.5 * max(width, height) / np.tan(np.deg2rad(fov_deg) / 2)
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    return np.tile(camera, (frames, 1, 1))


def _horizontal_fov_deg(fov_deg: float, width: int, height: int) -> float:
    """Field of view along the image's width, from the one along its longer side."""
    tangent = np.tan(np.deg2rad(fov_deg) / 2) * width / max(width, height)
    return float(np.rad2deg(2 * np.arctan(tangent)))


def _known(depth: Tensor) -> Float32[np.ndarray, "frames height width"]:
    """Depth with 0 wherever it is not a positive number."""
    depth = depth.float()
    return torch.where(torch.isfinite(depth) & (depth > 0), depth, torch.zeros_like(depth)).cpu().numpy()


def _batches(frames: np.ndarray, size: int, device: torch.device) -> Iterator[Tensor]:
    """Float images in 0..1, (n, 3, height, width)."""
    for start in range(0, len(frames), size):
        yield torch.from_numpy(frames[start : start + size]).to(device).permute(0, 3, 1, 2).float() / 255


# ---------------------------------------------------------------- MoGe


@dataclass(frozen=True)
class MoGeDepth:
    """MoGe-2 or MoGe-3: metric depth where it sees a surface (not the sky), and the lens."""

    model: Any
    name: str
    device: torch.device
    fov_deg: float | None = None
    batch: int = 4

    @staticmethod
    def load(version: str, repository: str, device: torch.device, fov_deg: float | None, batch: int) -> "MoGeDepth":
        try:
            network = importlib.import_module(MOGE[version][0]).MoGeModel
        except ImportError as error:
            raise MissingDependencyError(
                f"--depth {version} needs a MoGe that has {MOGE[version][0]}, which is not installed ({error}). "
                "Install it: pip install git+https://github.com/microsoft/MoGe"
            ) from error
        model = _loaded(lambda: network.from_pretrained(repository), repository)
        return MoGeDepth(model.to(device).eval(), repository, device, fov_deg, batch)

    def label(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> DepthLabels:
        """Frames with one lens: the one that is known, else the median of what a few frames say."""
        height, width = frames.shape[1:3]
        if self.fov_deg is None:
            chosen = np.unique(np.linspace(0, len(frames) - 1, _LENS_FRAMES).round().astype(int))
            focal = torch.cat([outputs["intrinsics"][:, 0, 0] for outputs in self._infer(frames[chosen])])
            fov_x = float(torch.rad2deg(2 * torch.atan(0.5 / focal.float())).median())
        else:
            fov_x = _horizontal_fov_deg(self.fov_deg, width, height)
        outputs = list(self._infer(frames, fov_x=fov_x))
        intrinsics = torch.cat([part["intrinsics"] for part in outputs]).float().cpu()
        # Normalised intrinsics are in widths and heights of the image.
        per_side = torch.tensor([width, height, 1.0])[:, None]
        return DepthLabels(_known(torch.cat([part["depth"] for part in outputs])), (intrinsics * per_side).numpy())

    def _infer(self, frames: np.ndarray, **known: float) -> Iterator[dict[str, Tensor]]:
        for images in _batches(frames, self.batch, self.device):
            # Masked places come back as infinity; half precision is for GPUs.
            yield self.model.infer(images, use_fp16=self.device.type == "cuda", **known)


# ---------------------------------------------------------------- relative depth


@dataclass(frozen=True)
class RelativeDepth:
    """Depth of a teacher that knows neither scale nor shift, which are made up.

    Stage 1 can learn from it, as each of its patches fits a scale and a shift of its own.
    """

    teacher: DepthTeacher
    name: str
    fov_deg: float | None = None

    def label(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> DepthLabels:
        """Depth at the frames' resolution, the median of each frame 4 m; the lens where it is known."""
        count, height, width = frames.shape[:3]
        depth = np.stack([stored_depth(self.teacher.inverse_depth(frame), width, height) for frame in frames])
        known = None if self.fov_deg is None else intrinsics_of_fov(self.fov_deg, count, width, height)
        return DepthLabels(depth, known)


# ---------------------------------------------------------------- transformers


@dataclass(frozen=True)
class TransformersDepth:
    """A metric depth model of transformers: Depth Anything V2 Metric, ZoeDepth, DepthPro, GLPN, …"""

    model: Any
    prepare: Callable[[np.ndarray], Tensor]
    """uint8 frames → the model's pixel values."""
    name: str
    device: torch.device
    fov_deg: float | None = None
    batch: int = 4

    @staticmethod
    def load(source: str, device: torch.device, fov_deg: float | None, batch: int) -> "TransformersDepth":
        try:
            from transformers import AutoConfig, AutoModelForDepthEstimation
        except ImportError as error:
            raise MissingDependencyError(
                f"--depth {source} needs transformers, which is not installed. Install it: pip install transformers"
            ) from error
        config = _loaded(lambda: AutoConfig.from_pretrained(source), source)
        _require_metric(config, source)
        model = _loaded(lambda: AutoModelForDepthEstimation.from_pretrained(source), source)
        name = Path(source).resolve().name if Path(source).is_dir() else source
        return TransformersDepth(model.to(device).eval(), _preparation(config, source), name, device, fov_deg, batch)

    def label(self, frames: UInt8[np.ndarray, "frames height width 3"]) -> DepthLabels:
        """Depth at the frames' resolution; the lens where it is known or the model says it."""
        height, width = frames.shape[1:3]
        answers, fields_of_view = [], []
        with torch.inference_mode():
            for start in range(0, len(frames), self.batch):
                values = self.prepare(frames[start : start + self.batch]).to(self.device)
                output = self.model(pixel_values=values)
                answer = output.predicted_depth.float()
                answers.append(functional.interpolate(answer[:, None], (height, width), mode="bilinear")[:, 0].cpu())
                if getattr(output, "field_of_view", None) is not None:
                    fields_of_view.append(output.field_of_view.float().cpu())
        fov_deg, answer = self.fov_deg, torch.cat(answers)
        if fov_deg is None and fields_of_view:  # along the width, in degrees
            tangent = np.tan(np.deg2rad(float(torch.cat(fields_of_view).median())) / 2)
            fov_deg = float(np.rad2deg(2 * np.arctan(tangent * max(width, height) / width)))
        intrinsics = None if fov_deg is None else intrinsics_of_fov(fov_deg, len(frames), width, height)
        if self.model.config.model_type == "depth_pro":
            if intrinsics is None:
                raise InputError(f"{self.name} has no part for the field of view; say it with --fov-deg.")
            # DepthPro's answer is the inverse depth of a camera whose focal length is the image's width.
            answer = intrinsics[0, 0, 0] / width / answer.clamp(min=1e-4)
        return DepthLabels(_known(answer), intrinsics)


def _require_metric(config: Any, source: str) -> None:
    kind = getattr(config, "depth_estimation_type", None)
    if kind == "metric" or (kind is None and config.model_type in _METRIC_TYPES):
        return
    raise InputError(
        f"Expected a model that gives depth in metres, but {source} ({config.model_type}) gives "
        f"{kind or 'relative or inverse'} depth; choose moge, or a metric one like "
        "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf."
    )


def _preparation(config: Any, source: str) -> Callable[[np.ndarray], Tensor]:
    if config.model_type == "depth_pro":
        # Its own processor needs torchvision; it only stretches the image to a square and maps 0..1 to −1..1.
        patch = config.patch_size if isinstance(config.patch_size, int) else config.patch_size[0]
        side = round(patch / min(config.scaled_images_ratios))

        def stretched(frames: np.ndarray) -> Tensor:
            (images,) = _batches(frames, len(frames), torch.device("cpu"))
            return functional.interpolate(images * 2 - 1, (side, side), mode="bilinear", align_corners=False)

        return stretched
    from transformers import AutoImageProcessor

    processor = _loaded(lambda: AutoImageProcessor.from_pretrained(source), source)
    # ZoeDepth's reflected border would have to be cut off again; the model does without it.
    options = {"do_pad": False} if config.model_type == "zoedepth" else {}
    return lambda frames: processor(images=list(frames), return_tensors="pt", **options)["pixel_values"]


def _loaded(load: Callable[[], Any], source: str) -> Any:
    """What `load` gives; whatever goes wrong in it in one sentence."""
    try:
        return load()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = "the Hub's name and the connection" if re.fullmatch(r"[\w.-]+/[\w.-]+", source) else "the path"
        raise MissingAssetError(
            f"Could not load the depth network {source} ({reason}). Check {where}, or choose another with --depth."
        ) from error
