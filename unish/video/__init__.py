"""Pixels, times and frame numbers of a file on disk; nothing about people."""

LONGEST_SHOT = "longest"
"""Which part of a clip without a cut is read, unless one is named by its number."""
