"""Long clips: overlapping windows of frames, one forward pass each, joined into one world with one scale and lens."""
