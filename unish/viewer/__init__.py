"""The Plotly viewer: one scene file and one page script for the app, the offline HTML file and notebooks."""

from unish.viewer.page import NotebookView, notebook_view, write_html
from unish.viewer.scene import scene_arrays, write_scene
from unish.viewer.scene_file import SceneArrays, decode_scene, encode_scene

__all__ = [
    "NotebookView",
    "SceneArrays",
    "decode_scene",
    "encode_scene",
    "notebook_view",
    "scene_arrays",
    "write_html",
    "write_scene",
]
