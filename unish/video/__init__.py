"""Pixels, times and frame numbers of a file on disk; nothing about people."""

TRAINED_FPS = 6.0
"""Frames per second that are sampled unless another rate is asked for: that of the clips the network was trained on."""
LONGEST_SHOT = "longest"
"""Which part of a clip without a cut is read, unless one is named by its number."""
