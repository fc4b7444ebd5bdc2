"""How many frames of one forward pass the memory holds: a model fitted to memory counted by benchmarks/capacity.py."""

from unish.models.config import SceneConfig

BYTES_PER_CHANNEL = 56
"""Of each token of the scene branch, at the peak: 44.5 counted in bfloat16, 54.5 in float32."""
BYTES_PER_CROP = 2_400_000
"""Of each person and frame: the crop, and what its tokens take at the peak."""
USABLE_SHARE = 0.9
"""Of the free memory; fragmentation and libraries take the rest."""


def max_frames(scene: SceneConfig, width_px: int, height_px: int, people: int, free_bytes: int) -> int:
    """The longest window of frames of that size, with so many people, once the weights are loaded."""
    return int(USABLE_SHARE * free_bytes / frame_bytes(scene, width_px, height_px, people))


def frame_bytes(scene: SceneConfig, width_px: int, height_px: int, people: int) -> int:
    """What each frame adds to the memory of a pass."""
    tokens = scene.decoder_registers + (width_px // scene.patch_size) * (height_px // scene.patch_size)
    return BYTES_PER_CHANNEL * scene.width * tokens + BYTES_PER_CROP * people
