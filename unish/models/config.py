"""Every size and choice of the network, as frozen values; `RELEASE` and `MINI` are the two presets."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

from unish.errors import InputError
from unish.geometry import CROP_SIZE_PX
from unish.utils.json_data import from_json, parse_json_object

CROP_MARGIN_PX = 32  # columns cut from the crop's left and right: the human backbone sees 256 × 192
CONFIG_FILE = "config.json"

_LARGEST_SIZE, _LARGEST_FACTOR = 16384, 100.0
_LIMITS = {
    **dict.fromkeys(("encoder_depth", "decoder_depth", "head_depth", "depth"), (1, 200)),
    **dict.fromkeys(("encoder_registers", "decoder_registers"), (0, 200)),
    "patch_size": (1, 128),
    "patch_padding": (0, 64),
    "position_grid": (1, 500),
    "refine_channels": (0, _LARGEST_SIZE),
    "mlp_ratio": (0.01, _LARGEST_FACTOR),
    "focal_gain": (0.01, 10.0),
    "focal_log_error": (0.0, 10.0),
    "dropout": (0.0, 0.99),
}
"""Smallest and largest value of a number; other whole numbers are 1 to 16384, others 0 to 100."""


@dataclass(frozen=True)
class SceneConfig:
    """The scene branch (π³). Defaults are the released network."""

    patch_size: int = 14
    image_long_side_px: int = 518
    width: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    encoder_registers: int = 4
    encoder_layer_scale: float | None = 1.0
    position_grid: int = 37
    decoder_depth: int = 36
    decoder_heads: int = 16
    decoder_registers: int = 5
    decoder_layer_scale: float | None = 0.01
    head_width: int = 1024
    head_depth: int = 5
    head_heads: int = 16
    head_qk_norm: bool = False
    head_layer_scale: float | None = None
    camera_width: int = 512
    mlp_ratio: float = 4.0
    stem: Literal["linear", "conv"] = "linear"
    stem_channels: int = 16
    ray_prior: bool = False
    """Points start on the pixel's ray of a camera whose focal length is the half diagonal, instead of on one line."""
    predicts_lens: bool = False
    """The camera head says by what all slopes x/z and y/z of a frame are multiplied. A small point head draws each
    patch on its own and cannot widen or narrow the whole image."""
    focal_gain: float = 1.0
    """What the focal length fitted to the points is multiplied by in the result. Measured on training clips for a small
    network, whose points shrink towards the axis; its other branches were trained with the focal length as fitted."""
    focal_log_error: float = 0.05
    """Standard deviation of the logarithm of its focal lengths about the true ones: how far a fit trusts distances.
    That of the release is a guess."""
    refine_channels: int = 0
    """Width of a full-resolution refinement of the point and confidence maps; 0 leaves the patch heads alone."""

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_heads("scene.encoder_heads", self.width, self.encoder_heads, divisor=1)
        _require_heads("scene.decoder_heads", self.width, self.decoder_heads, divisor=4)
        _require_heads("scene.head_heads", self.head_width, self.head_heads, divisor=4)
        _require_stem("scene", self.stem, self.patch_size)
        if self.decoder_depth % 2:
            raise InputError(
                f"scene.decoder_depth must be even (frame and clip attention alternate); received {self.decoder_depth}."
            )
        if self.image_long_side_px % self.patch_size:
            raise InputError(
                f"scene.image_long_side_px must be a multiple of patch_size {self.patch_size}; "
                f"received {self.image_long_side_px}."
            )


@dataclass(frozen=True)
class HumanConfig:
    """The human branch (CameraHMR: ViT backbone and SMPL transformer head). Defaults are the released network."""

    patch_size: int = 16
    patch_padding: int = 2
    width: int = 1280
    depth: int = 32
    heads: int = 16
    mlp_ratio: float = 4.0
    stem: Literal["linear", "conv", "pyramid"] = "linear"
    stem_channels: int = 16
    head_width: int = 1024
    head_depth: int = 6
    head_heads: int = 8
    head_head_width: int = 64
    head_hidden: int = 1024
    normalise_crops: bool = False
    """Subtract ImageNet's mean and divide by its deviation: CameraHMR's own weights want it, the release does not."""

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_heads("human.heads", self.width, self.heads, divisor=1)
        if (CROP_SIZE_PX - 2 * CROP_MARGIN_PX) % self.patch_size or CROP_SIZE_PX % self.patch_size:
            raise InputError(f"human.patch_size must divide 256 and 192; received {self.patch_size}.")
        _require_stem("human", self.stem, self.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the backbone's tokens."""
        return CROP_SIZE_PX // self.patch_size, (CROP_SIZE_PX - 2 * CROP_MARGIN_PX) // self.patch_size


@dataclass(frozen=True)
class AlignConfig:
    """AlignNet (UniSH): scale of the scene and place of each body. Defaults are the released network."""

    width: int = 512
    depth: int = 2
    heads: int = 8
    hidden: int = 512
    dropout: float = 0.1
    place_from_box: bool = False
    """Bodies are placed in metres relative to their boxes: sideways in box sizes from the box's centre, in depth by the
    metric size of the box, both read from the person's tokens alone. What the box already says need not be learned, nor
    is it lost on unfamiliar footage; the scene says only how large it is itself."""

    def __post_init__(self) -> None:
        _require_sizes(self)
        _require_heads("align.heads", self.width, self.heads, divisor=2)


@dataclass(frozen=True)
class UniSHConfig:
    """The whole network; stands as `config.json` next to its weights."""

    scene: SceneConfig = field(default_factory=SceneConfig)
    human: HumanConfig = field(default_factory=HumanConfig)
    align: AlignConfig = field(default_factory=AlignConfig)

    def to_json(self) -> str:
        """The configuration as JSON text; `from_json` reads it back to an equal value."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "UniSHConfig":
        """Configuration from JSON text in UTF-8.

        Raises `InputError` on broken JSON, unknown keys, values of a wrong kind and sizes that no network has.
        """
        try:
            return from_json(cls, parse_json_object(text, CONFIG_FILE), "config")
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"The model configuration cannot be used: {error}; use one saved by unish.") from error


def _require_sizes(config: Any) -> None:
    """Raises `InputError` for a number that no network has: a depth of a million would take hours to build."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = _LIMITS.get(item.name, (1, _LARGEST_SIZE) if isinstance(value, int) else (0, _LARGEST_FACTOR))
        if not low <= value <= high:
            raise InputError(f"{type(config).__name__}.{item.name} must be in {low}..{high}; received {value}.")


def _require_heads(name: str, width: int, heads: int, divisor: int) -> None:
    if heads < 1 or width % heads or (width // heads) % divisor:
        raise InputError(
            f"{name} must split the width {width} into heads of a multiple of {divisor} channels; received {heads}."
        )


def _require_stem(branch: str, stem: str, patch_size: int) -> None:
    if stem not in ("linear", "conv", "pyramid"):
        raise InputError(f"{branch}.stem must be 'linear', 'conv' or 'pyramid'; received {stem!r}.")
    if stem == "pyramid" and (patch_size < 8 or patch_size & (patch_size - 1)):
        raise InputError(f"{branch}.patch_size must be 8, 16, 32 … for a pyramid stem; received {patch_size}.")
    if stem == "conv" and patch_size % 2:
        raise InputError(f"{branch}.patch_size must be even for a convolutional stem; received {patch_size}.")


RELEASE = UniSHConfig()
"""The released UniSH network: 1,637 M parameters."""

MINI = UniSHConfig(
    scene=SceneConfig(
        image_long_side_px=168,
        width=160,
        encoder_depth=3,
        encoder_heads=5,
        encoder_registers=0,
        encoder_layer_scale=0.3,
        position_grid=12,
        decoder_depth=6,
        decoder_heads=5,
        decoder_registers=5,
        decoder_layer_scale=0.3,
        head_width=160,
        head_depth=1,
        head_heads=5,
        head_qk_norm=True,
        head_layer_scale=0.3,
        camera_width=64,
        mlp_ratio=2.0,
        stem="conv",
        ray_prior=True,
        predicts_lens=True,
        focal_gain=0.9,
        focal_log_error=0.25,
        refine_channels=20,
    ),
    human=HumanConfig(
        patch_size=32,
        patch_padding=0,
        width=160,
        depth=3,
        heads=5,
        mlp_ratio=2.0,
        stem="pyramid",
        normalise_crops=True,
        head_width=160,
        head_depth=2,
        head_heads=4,
        head_head_width=32,
        head_hidden=96,
        stem_channels=64,
    ),
    align=AlignConfig(width=96, depth=2, heads=4, hidden=96, dropout=0.1, place_from_box=True),
)
"""A network of the same code that two CPU cores can train and run; its float16 weights stay under 10 MB."""
