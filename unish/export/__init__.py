"""A reconstruction in other programs' formats, one exporter a file."""

from unish.export.mp4 import write_mp4

__all__ = ["write_mp4"]
