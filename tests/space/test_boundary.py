"""What visitors read of an error."""

import gradio as gr
import pytest

from space.boundary import TOO_LARGE, spoken, without_paths
from space.results import ResultFolders
from unish.errors import OUT_OF_MEMORY, InputError


def test_errors_name_the_pages_controls_and_no_options_of_a_command(tmp_path):
    folders = ResultFolders.beside(tmp_path / "served")
    said = without_paths(InputError(f"Out of memory: {OUT_OF_MEMORY}"), folders)
    assert "--" not in said and "(From, To)" in said and "(Frames per second)" in said
    weights = "Check the connection, or use the bundled weights with --weights mini."
    assert (
        without_paths(InputError(weights), folders) == "Check the connection, or use the small model (Options, Model)."
    )
    path = folders.served / "a" / "clip.mp4"
    assert without_paths(InputError(f"Could not read {path}: why"), folders) == "Could not read this video why"


def test_what_is_too_large_for_the_server_is_said(tmp_path):
    with pytest.raises(gr.Error) as raised, spoken(ResultFolders.beside(tmp_path / "served")):
        raise MemoryError
    assert raised.value.message == TOO_LARGE
