"""Hostile input by the thousand: mutated clips, checkpoints, bodies, saved results and labels, kills while writing,
calls of the app's API, and twenty visitors of the app while a hostile one keeps sending.

    python benchmarks/hostile.py --seed 0
    python benchmarks/hostile.py --seed 7 --clips 300 --checkpoints 60 --bodies 60 --results 20 --kills 10

Each case either works or ends with one of unish's own errors. Anything else is bad: another exception, a process that
crashes or hangs, a result that is lost, half written or mixed, a temporary folder that is never swept. Prints a line
per kind, then each bad case with the number that makes it again (--only), and exits with 1 if there is one.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.hostile_app import api_case, describe_app, visitors_case
from benchmarks.hostile_labels import labels_case, make_labels
from benchmarks.hostile_mutations import NAMES, mutated_array, mutated_bytes, mutated_tree

COUNTS = {
    "clips": 3000, "checkpoints": 150, "bodies": 150, "results": 200, "labels": 300, "kills": 60, "api": 300,
    "visitors": 1,
}  # fmt: skip
LIMITS_S = {"api": 300.0, "visitors": 1800.0}
LIMIT_S = 60.0
"""A case that takes longer hangs."""
WORKS, SENTENCE, BAD = "works", "clean sentence", "bad"


# --- one case of each kind: returns when it works, raises otherwise ------------------------------------------------


def clip_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """A damaged video or image is read with choices of any kind."""
    from unish.video.reader import read_clip

    base = rng.choice(sorted((bases / "clips").iterdir()))
    path = folder / f"{rng.choice(NAMES)}{base.suffix}"
    path.write_bytes(mutated_bytes(base.read_bytes(), rng))
    fps = rng.choice((6.0, 6.0, 6.0, 30.0, 0.1, 1000.0, 1e308, 1e-308, float("nan"), -1.0))
    start_s = rng.choice((None, None, None, 0.2, 1e18, -1.0))
    clip = read_clip(path, fps=fps, start_s=start_s, end_s=rng.choice((None, None, 0.5, 1e300)))
    assert len(clip.frames) == len(clip.times_s) > 0, "a clip without frames"
    assert np.isfinite(clip.times_s).all() and (np.diff(clip.times_s) > 0).all(), "times that do not rise"


def make_clips(folder: Path) -> None:
    """A second of a moving square in each container and format."""
    import av
    import cv2

    frames = np.zeros((10, 48, 64, 3), np.uint8)
    for k, frame in enumerate(frames):
        frame[10:30, 4 * k : 4 * k + 20] = (200, 40 + 10 * k, 90)
    for suffix, codec in {
        ".mp4": "libx264", ".mov": "mpeg4", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4",
        ".ts": "libx264", ".mpg": "mpeg2video", ".gif": "gif", ".flv": "flv", ".wmv": "wmv2",
    }.items():  # fmt: skip
        with av.open(str(folder / f"clip{suffix}"), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
    for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp"):
        cv2.imwrite(str(folder / f"image{suffix}"), frames[0])


def checkpoint_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """Damaged weights, or a damaged configuration beside them, are loaded."""
    from unish.models.hub import load

    net = folder / "net"
    shutil.copytree(bases / "checkpoints", net)
    weights, config, torch_file = net / "model.safetensors", net / "config.json", net / "model.pt"
    way = rng.randrange(5)
    if way == 0:
        config.write_text(json.dumps(mutated_tree(json.loads(config.read_text()), rng)))
    elif way == 1:
        content = weights.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.dumps(mutated_tree(json.loads(content[8 : 8 + length]), rng)).encode()
        weights.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    else:
        damaged = (weights, config, torch_file)[way - 2]
        damaged.write_bytes(mutated_bytes(damaged.read_bytes(), rng))
    load(torch_file if way == 4 else net, device="cpu")


def make_checkpoint(folder: Path) -> None:
    """A network of the mini's kind, as small as it can be."""
    import torch

    from unish.models.config import MINI, UniSHConfig
    from unish.models.unish import UniSH
    from unish.models.weights import save

    scene = dataclasses.replace(
        MINI.scene, width=32, encoder_heads=2, encoder_depth=1, decoder_heads=2, decoder_depth=2, head_width=32,
        head_heads=2, camera_width=16, stem_channels=4, refine_channels=4, image_long_side_px=56, position_grid=4,
    )  # fmt: skip
    human = dataclasses.replace(
        MINI.human, width=32, heads=2, depth=1, head_width=32, head_depth=1, head_heads=2, head_head_width=16,
        head_hidden=32, stem_channels=4,
    )  # fmt: skip
    align = dataclasses.replace(MINI.align, width=32, hidden=32, heads=2)
    model = UniSH(UniSHConfig(scene, human, align))
    save(model, folder)
    torch.save(model.state_dict(), folder / "model.pt")


def body_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """A body file with odd arrays, or with damaged bytes, is read."""
    from unish.body.files import read_body_file

    with (bases / "bodies" / "smpl.pkl").open("rb") as file:
        arrays = pickle.load(file)
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(list(arrays))
        array = arrays.pop(name)
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiu" and rng.random() < 0.8:
            arrays[name] = mutated_array(array, rng)
    path = folder / rng.choice(("SMPL_NEUTRAL.pkl", "smpl.npz"))
    if path.suffix == ".pkl":
        content = pickle.dumps(arrays, protocol=rng.choice((0, 2, 4, 5)))
    else:
        text = io.BytesIO()
        with contextlib.suppress(ValueError):  # ragged lists are no arrays
            np.savez(text, **arrays)
        content = text.getvalue()
    path.write_bytes(mutated_bytes(content, rng) if rng.random() < 0.6 else content)
    read_body_file(path)


def make_body(folder: Path) -> None:
    """A random body of 40 vertices under SMPL's names."""
    from unish.body.data import PARENTS

    rng = np.random.default_rng(0)
    weights, regressor = rng.random((40, 24)), rng.random((24, 40))
    arrays = {
        "v_template": rng.normal(size=(40, 3)),
        "shapedirs": rng.normal(size=(40, 3, 10)),
        "posedirs": rng.normal(size=(40, 3, 207)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, *PARENTS[1:]], list(range(24))], np.uint32),
        "f": rng.integers(0, 40, (70, 3)).astype(np.uint32),
    }
    (folder / "smpl.pkl").write_bytes(pickle.dumps(arrays))


def result_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """A damaged saved result is viewed or exported on the command line."""
    from unish.cli import main
    from unish.errors import InputError

    out = folder / "out"
    shutil.copytree(bases / "results", out, ignore=shutil.ignore_patterns("viewer.html"))
    header, arrays = out / "reconstruction.json", out / "reconstruction.safetensors"
    way = rng.randrange(4)
    if way == 0:
        header.write_text(json.dumps(mutated_tree(json.loads(header.read_text()), rng)))
    elif way == 1:
        content = arrays.read_bytes()
        length = int.from_bytes(content[:8], "little")
        text = json.dumps(mutated_tree(json.loads(content[8 : 8 + length]), rng)).encode()
        arrays.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    elif way == 2:
        arrays.write_bytes(mutated_bytes(arrays.read_bytes(), rng))
    else:
        header.write_bytes(mutated_bytes(header.read_bytes(), rng))
    formats = rng.choice(("glb", "bvh", "npz", "ply", "obj", "colmap", "bvh,npz"))
    command = ["view", str(out), "--no-browser"] if rng.random() < 0.5 else ["export", str(out), "--to", formats]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(command)
    assert not list(folder.rglob(".unish-*")), "a temporary folder is left"
    if code == 2:
        assert "Traceback" not in said.getvalue() and "unish: " in said.getvalue(), said.getvalue()
        raise InputError(said.getvalue())
    assert code == 0, f"exit code {code}"


def make_result(folder: Path) -> None:
    """Three frames of the bundled clip."""
    import unish
    from unish.utils.assets import SAMPLE_CLIP

    scene = unish.reconstruct(SAMPLE_CLIP, weights="mini", finder="mini", body="open", device="cpu", end_s=0.5)
    scene.save(folder)


def kill_case(rng: random.Random, folder: Path, bases: Path) -> None:
    """A process that replaces a result is killed: the old or the new one is there, and the user's file."""
    from unish.structures import Reconstruction
    from unish.utils import atomic_write
    from unish.utils.scratch import sweep

    scene, out = Reconstruction.load(bases / "results"), folder / "out"
    if rng.random() < 0.8:
        scene.save(out)
        (out / "notes.md").write_text("mine")
    had_notes = (out / "notes.md").is_file()
    if rng.random() < 0.4:
        atomic_write._exchange = lambda first, second: False  # as on disks that cannot
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            while True:
                scene.save(out)
        os._exit(1)
    time.sleep(rng.random() * 0.15)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    sweep(folder)
    assert sorted(path.name for path in folder.iterdir()) in (["out"], []), "something is left beside the result"
    assert not had_notes or (out / "notes.md").read_text() == "mine", "the user's file is lost"
    assert not had_notes or out.is_dir(), "the result is lost"
    if out.is_dir():
        assert len(Reconstruction.load(out)) == len(scene), "half a result"


CASES: dict[str, Callable[[random.Random, Path, Path], None]] = {
    "clips": clip_case,
    "checkpoints": checkpoint_case,
    "bodies": body_case,
    "results": result_case,
    "labels": labels_case,
    "kills": kill_case,
    "api": api_case,
    "visitors": visitors_case,
}
BASES = {
    "clips": make_clips,
    "checkpoints": make_checkpoint,
    "bodies": make_body,
    "results": make_result,
    "labels": make_labels,
}
NEEDED = {"kills": {"results"}, "api": {"clips"}}
"""Good files of other kinds that a kind takes."""


# --- the campaign --------------------------------------------------------------------------------------------------


def run_case(kind: str, seed: int, index: int, bases: Path) -> tuple[str, str]:
    """What became of a case, and what was said."""
    from unish.errors import UniSHError

    with tempfile.TemporaryDirectory(prefix="unish-hostile-") as folder:
        try:
            CASES[kind](random.Random(f"{seed} {kind} {index}"), Path(folder), bases)
            return WORKS, ""
        except UniSHError as error:
            return SENTENCE, str(error)
        except Exception:  # whatever is not one of our own errors is what the campaign looks for
            return BAD, traceback.format_exc(limit=-3)


def make_bases(folder: Path, kinds: list[str]) -> Path:
    """The good files that are damaged, a folder per kind."""
    for kind in BASES:
        if kind in kinds or any(kind in NEEDED.get(other, ()) for other in kinds):
            (folder / kind).mkdir()
            BASES[kind](folder / kind)
    return folder


def _serve(pipe: Connection, kind: str, seed: int, bases: Path) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)  # decoders and warnings
    import unish.export
    import unish.models.hub
    import unish.video.reader  # noqa: F401 (slow imports are no part of a case)

    pipe.send("ready")
    while True:
        pipe.send(run_case(kind, seed, pipe.recv(), bases))


def campaign(kind: str, seed: int, indices: list[int], bases: Path) -> list[tuple[int, str, str]]:
    """The outcomes of cases, each in a process that a crash or a hang does not take the others with."""
    context = multiprocessing.get_context("spawn")
    outcomes, worker, pipe, limit_s = [], None, None, LIMITS_S.get(kind, LIMIT_S)
    for index in indices:
        if worker is None or not worker.is_alive():
            pipe, theirs = context.Pipe()
            worker = context.Process(target=_serve, args=(theirs, kind, seed, bases), daemon=True)
            worker.start()
            theirs.close()
            pipe.recv()
        assert pipe is not None
        pipe.send(index)
        outcome = (BAD, f"hangs: no answer within {limit_s:.0f} s")
        try:
            if pipe.poll(limit_s):
                outcome = pipe.recv()
            else:
                worker.kill()
                worker.join()
        except EOFError:
            worker.join()
            outcome = (BAD, f"the process ended with {worker.exitcode}")
        outcomes.append((index, *outcome))
    if worker is not None:
        worker.kill()
    return outcomes


def main() -> int:
    """Runs the campaign and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case again, for instance clips:17")
    for kind, count in COUNTS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help=f"cases (default {count})")
    options = parser.parse_args()
    wanted = {kind: list(range(getattr(options, kind))) for kind in CASES}
    if options.only:
        kind, _, index = options.only.partition(":")
        wanted = {kind: [int(index)]}
    kinds, bad = [kind for kind in wanted if wanted[kind]], []
    with tempfile.TemporaryDirectory(prefix="unish-hostile-") as folder, contextlib.ExitStack() as running:
        bases = make_bases(Path(folder), kinds)
        if {"api", "visitors"} & set(kinds):
            running.enter_context(describe_app(bases))
        print(f"seed {options.seed}\n{'kind':12} {'tried':>6} {WORKS:>6} {SENTENCE:>15} {BAD:>5} {'seconds':>8}")
        for kind in kinds:
            began = time.perf_counter()
            outcomes = campaign(kind, options.seed, wanted[kind], bases)
            count = Counter(outcome for _, outcome, _ in outcomes)
            numbers = f"{len(outcomes):6} {count[WORKS]:6} {count[SENTENCE]:15} {count[BAD]:5}"
            print(f"{kind:12} {numbers} {time.perf_counter() - began:8.0f}", flush=True)
            bad += [(kind, index, said) for index, outcome, said in outcomes if outcome == BAD]
    for kind, index, said in bad:
        print(f"\n--seed {options.seed} --only {kind}:{index}\n{said}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
