"""Files that come with the package."""

from pathlib import Path

ASSETS = Path(__file__).resolve().parents[1] / "assets"

MINI_WEIGHTS = ASSETS / "mini"
"""Configuration and weights of the mini."""
MINI_DETECTOR = ASSETS / "mini_detector"
"""Configuration and weights of the bundled person detector."""
MINI_KEYPOINTS = ASSETS / "mini_keypoints"
"""And of the bundled keypoint network."""
MINI_LIFTER = ASSETS / "mini_lifter"
"""And of the bundled pose lifter."""
OPEN_BODY = ASSETS / "open_body.npz"
SAMPLE_CLIP = ASSETS / "sample_clip.mp4"
SYNTHETIC_BENCHMARK = ASSETS / "synthetic_benchmark"
