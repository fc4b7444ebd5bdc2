"""The public names, and what importing them costs."""

import json
import subprocess
import sys

import pytest

import unish


def test_public_names():
    assert unish.__all__ == [
        "BodyModel", "Reconstruction", "UniSH", "UniSHConfig", "__version__", "load", "reconstruct",
    ]  # fmt: skip
    for name in unish.__all__:
        assert getattr(unish, name) is not None
    with pytest.raises(AttributeError):
        unish.something_else  # noqa: B018


@pytest.mark.parametrize("statement", ["import unish", "import unish.cli"])
def test_import_loads_nothing_heavy(statement):
    code = f"{statement}\nimport sys, json\nprint(json.dumps(sorted(m.split('.')[0] for m in sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    assert not loaded & {"torch", "numpy", "cv2", "av", "plotly", "gradio", "transformers", "scipy"}
