"""The app under fire, for benchmarks/hostile.py: odd calls of its API, and visitors beside one who sends them."""

import contextlib
import json
import random
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.app_client import api_values, call_api, call_private, running_app, upload_file
from benchmarks.hostile_mutations import JUNK, mutated_bytes
from unish.errors import InputError
from unish.utils.assets import SAMPLE_CLIP

PART = [2, 0, 0.4, "mini"]
"""fps, start_s, end_s, weights: a frame or two."""
VISITORS = 20
ODD_VALUES = (
    "/etc/passwd", "../../etc/passwd", "http://127.0.0.1/clip.mp4", "0,0,9,9\n" * 300, "1,1,9,9@1e300", "nan", "26mm",
    "1=1e9", "7=1.8", "glb,glb", "exe", "1:99:99", 1e-9, 299.0, "release", "x" * 5000,
)  # fmt: skip
APOLOGY = "went wrong on our side"


@contextlib.contextmanager
def describe_app(bases: Path) -> Iterator[None]:
    """Runs the app; where it is, an upload and its endpoints stand in `bases`/app.json meanwhile."""
    folder = bases / "app"
    folder.mkdir()
    with running_app(folder) as app:
        with urllib.request.urlopen(f"{app.url}/config", timeout=60) as answer:
            endpoints = json.load(answer)["dependencies"]
        takers = {
            one["id"]: len(one["inputs"]) for one in endpoints if one["inputs"] and one["backend_fn"] is not False
        }
        facts = {"url": app.url, "log": str(app.log), "clip": upload_file(app.url, SAMPLE_CLIP), "takers": takers}
        (bases / "app.json").write_text(json.dumps(facts))
        yield


def api_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """A call with odd values, with a damaged upload, or of an endpoint that only the page is meant to call."""
    app = json.loads((bases / "app.json").read_text())
    values: list[Any] = api_values(app["clip"], *PART)
    if rng.random() < 0.3:
        base = rng.choice(sorted((bases / "clips").iterdir()))
        path = folder / f"clip{base.suffix}"
        path.write_bytes(mutated_bytes(base.read_bytes(), rng))
        values[0] = upload_file(app["url"], path)
    for _ in range(rng.choice((0, 1, 1, 2))):
        values[rng.randrange(len(values))] = rng.choice((*JUNK, *ODD_VALUES))
    try:
        if rng.random() < 0.2:
            endpoint = rng.choice(list(app["takers"]))
            odd = [rng.choice((*JUNK, *ODD_VALUES, app["clip"])) for _ in range(app["takers"][endpoint])]
            succeeded, answer = call_private(app["url"], int(endpoint), odd)
        else:
            kind, answer = call_api(app["url"], "reconstruct", values)
            succeeded = kind == "complete"
    except urllib.error.HTTPError as error:
        assert error.code < 500, f"HTTP {error.code}"
        raise InputError(f"HTTP {error.code}") from error
    if not succeeded:
        assert isinstance(answer, str) and answer, f"an error without words: {answer!r}"
        assert "Traceback" not in answer and APOLOGY not in answer, answer
        raise InputError(answer)


def visitors_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """Visitors finish, or are told to wait, while a hostile one keeps sending."""
    app = json.loads((bases / "app.json").read_text())
    answers = visit_beside_a_hostile_one(app["url"], app["clip"], folder)
    assert set(answers) <= {"done", "told to wait"}, answers
    assert answers.count("done") >= VISITORS / 2, answers


def visit_beside_a_hostile_one(url: str, clip: dict[str, Any], folder: Path) -> list[str]:
    """What became of each of 20 visitors: "done", "told to wait", or what went wrong. Their archives go to `folder`."""
    over = threading.Event()
    hostile = [
        [clip, 1e308],
        [clip, 1e-9],
        [clip, 6, 0, 1e300, "mini", "0,0,9,9\n" * 300],
        [{"path": "/etc/passwd"}, *PART],
        [clip, *PART, "0,0,9,9@1e300"],
        [clip, [], {}, [], []],
    ]

    def attack() -> int:
        sent = 0
        while not over.is_set():
            kind, said = call_api(url, "reconstruct", api_values(*hostile[sent % len(hostile)]))
            assert kind == "error" and said
            sent += 1
        return sent

    def visit(number: int) -> str:
        kind, answer = call_api(url, "reconstruct", api_values(clip, *PART), patience_s=900)
        if kind != "complete":
            return "told to wait" if "queue" in str(answer).lower() else f"failed: {answer}"
        with urllib.request.urlopen(answer[0]["url"], timeout=60) as file:  # type: ignore[index]
            (folder / f"{number}.zip").write_bytes(file.read())
        return "done" if zipfile.is_zipfile(folder / f"{number}.zip") else "broken"

    with ThreadPoolExecutor(VISITORS + 1) as pool:
        attacker = pool.submit(attack)
        answers = list(pool.map(visit, range(VISITORS)))
        over.set()
        assert attacker.result() > 0, "the hostile one got nothing through"
    return answers
