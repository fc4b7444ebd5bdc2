"""A keypoint network that is quick to make and run."""

from unish.people.mini_keypoints import MiniKeypointConfig

SMALL = MiniKeypointConfig(
    channels=(4, 6, 8, 8, 8), depths=(0, 1, 1, 1, 1), decoder_channels=8, mask_channels=8, width_px=64, height_px=96
)
