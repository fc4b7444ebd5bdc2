"""JSON from anywhere: dataclasses come out as they went in, and what does not fit is one sentence."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

import pytest

from unish.utils.json_data import from_json, parse_json_object, read_json_object


@dataclass(frozen=True)
class Part:
    name: str
    pairs: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Whole:
    count: int
    share: float
    part: Part
    parts: tuple[Part, ...] = ()
    gain: float | None = None
    stem: Literal["linear", "conv"] = "linear"
    flag: bool = False


WHOLE = Whole(3, 0.5, Part("a", ((1, 2.5),)), (Part("b"), Part("c")), 2.0, "conv", True)


def changed(**values: object) -> dict:
    return {**json.loads(json.dumps(dataclasses.asdict(WHOLE))), **values}


def test_what_is_written_comes_back():
    assert from_json(Whole, changed(), "whole") == WHOLE
    short = from_json(Whole, {"count": 1, "share": 2, "part": {"name": ""}, "gain": 3}, "whole")
    assert (
        short == Whole(1, 2.0, Part(""), gain=3.0) and isinstance(short.share, float) and isinstance(short.gain, float)
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": 1}, "no entry 'colour'"),
        ({"count": 1.5}, "whole.count must be a whole number"),
        ({"count": True}, "whole.count"),
        ({"count": 10**30}, "whole.count"),
        ({"share": "0.5"}, "whole.share must be a number, received '0.5'"),
        ({"share": float("inf")}, "whole.share"),
        ({"flag": 1}, "whole.flag must be true or false"),
        ({"stem": "pyramid"}, "'linear' or 'conv'"),
        ({"stem": ["linear"]}, "whole.stem"),
        ({"part": []}, "whole.part must be a JSON object"),
        ({"part": {}}, "whole.part lacks 'name'"),
        ({"part": {"name": "\ud800"}}, "whole.part.name"),
        ({"part": {"name": "a", "pairs": [[1]]}}, "whole.part.pairs"),
        ({"part": {"name": "a", "pairs": [["1", 2]]}}, "whole.part.pairs"),
        ({"parts": {}}, "whole.parts"),
        ({"parts": [{"name": "b"}, 3]}, r"whole.parts\[1\]"),
        ({"gain": "much"}, "a number or null"),
        ({"gain": "x" * 1000}, "x…"),
    ],
)
def test_what_does_not_fit_is_named(values, words):
    with pytest.raises(ValueError, match=words):
        from_json(Whole, changed(**values), "whole")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", r"not a JSON object but \[\]"),
        ('{"a": 1}'.encode("utf-16"), "not JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "-Infinity"),
        (b"[" * 100_000, "too deep"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
    ],
)
def test_what_is_no_object_is_one_sentence(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=words) as found:
        read_json_object(tmp_path / "a.json")
    assert str(found.value).startswith("a.json is not") and len(str(found.value)) < 200


def test_files_without_end_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("unish.utils.json_data.MOST_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps({"a": "b" * 200}))
    with pytest.raises(ValueError, match="larger"):
        read_json_object(tmp_path / "a.json")
    assert parse_json_object('{"a": {"b": [1, 2]}}', "a") == {"a": {"b": [1, 2]}}
