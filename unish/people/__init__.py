"""Who is in the clip: detection, segmentation and tracking, from prompts or on their own."""

FINDERS = ("auto", "mini", "detector", "sam2")
"""Names of the ways to detect people."""
