"""How many frames of one pass the memory holds: a model fitted to memory counted by benchmarks/capacity.py."""

from unish.models.config import SceneConfig

BYTES_A_CHANNEL = 56
"""Of each channel of each token of the scene branch, at the worst moment: 44.5 counted in bfloat16, 54.5 in float32."""
BYTES_A_CROP = 2_400_000
"""Of each crop of a person: the picture, and what its tokens take while they are worked on."""
USABLE = 0.9
"""Of what is free; the rest is lost between blocks and to libraries."""


def most_frames(scene: SceneConfig, width_px: int, height_px: int, people: int, free_bytes: int) -> int:
    """The longest window of frames of that size, with so many people, once the weights are in their place."""
    return int(USABLE * free_bytes / frame_bytes(scene, width_px, height_px, people))


def frame_bytes(scene: SceneConfig, width_px: int, height_px: int, people: int) -> int:
    """What a frame adds to the memory of a pass."""
    tokens = scene.decoder_registers + (width_px // scene.patch_size) * (height_px // scene.patch_size)
    return BYTES_A_CHANNEL * scene.width * tokens + BYTES_A_CROP * people
