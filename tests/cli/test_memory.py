"""No memory to be had, as each library says it: one sentence and exit code 2."""

import cv2
import numpy as np
import pytest
import torch

from unish.cli import main, run
from unish.errors import is_out_of_memory
from unish.utils.distributed import sentence_of

TAKE = {
    "torch": lambda: torch.empty(2**55, dtype=torch.float64),
    "numpy": lambda: np.empty(2**58),
    "opencv": lambda: cv2.resize(np.zeros((3, 3), np.uint8), (2**30, 2**30)),
}


@pytest.mark.parametrize("library", TAKE)
def test_a_failed_allocation_is_one_sentence(library, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(run, "_run_into", lambda *rest: TAKE[library]())
    assert main(["run", "clip.mp4", "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("unish: out of memory") and len(said.splitlines()) == 1
    with pytest.raises(Exception) as error:
        TAKE[library]()
    assert sentence_of(error.value).startswith("out of memory")


def test_other_errors_stay_what_they_are():
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))
    assert is_out_of_memory(ImportError("libtorch_cpu.so: failed to map segment from shared object"))
    for error in (ValueError("out of memory"), RuntimeError("shape mismatch"), OSError(2, "No such file")):
        assert not is_out_of_memory(error)
