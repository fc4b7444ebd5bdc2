"""The files of a result's folder, and which files in it are unish's to replace."""

from collections.abc import Mapping

HEADER_FILE, ARRAYS_FILE = "reconstruction.json", "reconstruction.safetensors"
RESULT_PAGE, RESULT_REPORT, RESULT_RECORD, RESULT_EXPORTS = "viewer.html", "report.json", "batch.json", "exports"
EXPORT_FILES: Mapping[str, tuple[str, ...]] = {
    "bvh": ("*.bvh",),
    "fbx": ("*.fbx",),
    "npz": ("*.npz",),
    "ply": ("*.ply",),
    "obj": ("*.obj", "people.mtl"),
    "mesh": ("scene.ply", "scene.glb", "scene.obj", "collision.ply"),
    "robot": ("person_*.npz", "collision.obj", "scene.xml", "README.md"),
    "colmap": ("sparse/*", "images/*", "masks/*", "transforms.json", "points.ply"),
}
"""Folder of an export → patterns of the files in it that are unish's and may be replaced; `*` matches `/` as well."""
RESULT_FILES = (
    HEADER_FILE, ARRAYS_FILE, RESULT_PAGE, RESULT_REPORT, RESULT_RECORD,
    f"{RESULT_EXPORTS}/scene.glb", f"{RESULT_EXPORTS}/scene.usd*", f"{RESULT_EXPORTS}/camera.chan",
    f"{RESULT_EXPORTS}/overlay.*",
    *(f"{RESULT_EXPORTS}/{folder}/{file}" for folder, files in EXPORT_FILES.items() for file in files),
)  # fmt: skip
"""The same of a result's folder; what else is in it belongs to the user."""
