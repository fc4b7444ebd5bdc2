"""Pixels, times and frame numbers of a file on disk; nothing about people."""
