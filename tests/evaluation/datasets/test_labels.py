"""Entries of label files that are of another kind than they should be: one sentence, never a traceback."""

import dataclasses
import json
import shutil
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load, save

from unish.errors import InputError, MissingAssetError
from unish.evaluation.datasets import emdb, synthetic
from unish.evaluation.datasets.labels import LabelFile

ODD = (
    None, True, -1, 1e308, 10**400, "", "x", b"x", [], {}, [[1], [1, 2]], {"a": 1}, 1j, np.array([None, "a"], object),
    np.float32(np.nan), np.zeros((2, 0)), np.array(["a"]), np.array(1j), [1, [2, "x"]],
)  # fmt: skip


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:20])
def test_an_entry_of_any_kind_is_read_or_refused(tmp_path, value):
    labels = LabelFile(tmp_path / "labels.pkl", {"entry": value, "nested": {"entry": value}}, emdb.DOWNLOAD)
    readers = (
        lambda *keys: labels.array(*keys, shape=(2, 3)),
        lambda *keys: labels.array(*keys, shape=(None,), rows=np.arange(0)),
        lambda *keys: labels.array(*keys, shape=()),
        labels.text,
        labels.flag,
        labels.count,
        lambda *keys: labels.value(*keys, "deeper", 0),
    )
    for read in readers:
        for keys in (("entry",), ("nested", "entry")):
            try:
                read(*keys)
            except InputError as error:
                assert "labels.pkl" in str(error) and "\n" not in str(error)


def test_kinds_are_told_apart(tmp_path):
    labels = LabelFile(tmp_path / "labels.pkl", {"word": "m", "list": [1, 2], "yes": np.bool_(True)}, emdb.DOWNLOAD)
    assert labels.text("word") == "m" and labels.count("list") == 2 and labels.flag("yes") is True
    for read, entry in ((labels.text, "list"), (labels.count, "word"), (labels.flag, "word"), (labels.text, "none")):
        with pytest.raises(InputError, match=entry):
            read(entry)


HEADER = {"sequences": ["x"], "fps": 6.0, "body": "open", "format": synthetic.FORMAT, "format_version": 1}
BROKEN = (
    ("sequences", None), ("sequences", "x"), ("sequences", [["x"]]), ("sequences", ["../x"]), ("fps", "fast"),
    ("fps", 0), ("fps", 10**400), ("body", {}), ("format", []), ("format_version", "1"), ("published", [1]),
    ("published", [{"method": "m", "source": "s", "numbers": [1]}]),
    ("published", [{"method": "m", "source": "s", "numbers": {"abs_rel": "low"}}]),
    ("published", [{"method": 1, "source": "s", "numbers": {}}]),
)  # fmt: skip


@pytest.mark.parametrize(("entry", "value"), BROKEN, ids=lambda value: repr(value)[:20])
def test_a_header_of_the_synthetic_benchmark_with_odd_entries(tmp_path, entry, value):
    (tmp_path / synthetic.HEADER).write_text(json.dumps({**HEADER, entry: value}))
    with pytest.raises(InputError, match=r"benchmark\.json"):
        dataclasses.replace(synthetic.at(tmp_path)).sequences(tmp_path)


@pytest.mark.parametrize("damage", ["shape", "text", "nan", "no frames", "image"])
def test_an_archive_of_the_synthetic_benchmark_with_odd_labels(tmp_path, damage):
    (tmp_path / synthetic.HEADER).write_text(json.dumps(HEADER))
    source = synthetic.SYNTHETIC_BENCHMARK / "synthetic-920000000.zip"
    with zipfile.ZipFile(source) as good, zipfile.ZipFile(tmp_path / "x.zip", "w") as bad:
        labels = load(good.read(synthetic.LABELS))
        change = {
            "shape": lambda: {"visibility": labels["visibility"][0]},
            "text": lambda: {"intrinsics": np.zeros((8, 3, 3), np.uint8)},
            "nan": lambda: {"betas": np.full_like(labels["betas"], np.nan)},
            "no frames": lambda: {name: value[:, :0] for name, value in labels.items() if value.shape[:2] == (2, 8)},
            "image": lambda: {},
        }[damage]()
        bad.writestr(synthetic.LABELS, save({name: np.ascontiguousarray(a) for name, a in (labels | change).items()}))
        name = synthetic.member("image", 0)
        bad.writestr(name, good.read(synthetic.member("mask", 0) if damage == "image" else name))
    with pytest.raises(InputError, match=r"x\.zip"):
        synthetic.read(tmp_path)


def test_a_missing_archive_is_said(tmp_path):
    shutil.copy(synthetic.SYNTHETIC_BENCHMARK / synthetic.HEADER, tmp_path)
    with pytest.raises(MissingAssetError, match="is missing"):
        synthetic.read(tmp_path)
