"""Damage for benchmarks/hostile.py: bytes, JSON data and arrays with something changed, by a seed."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np

JUNK = (
    None, True, False, 0, -1, 3, 0.5, 1e308, -1e308, 10**30, 2**31, "", "x", "caf\udce9", [], {}, [[]], [1, "a"],
    {"a": None},
)  # fmt: skip
NAMES = ("clip", "a b", "2024-11-14T22:57:44", "caf\udce9")


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """A file with some bytes changed, cut out, repeated or put in; headers are hit as often as everything else."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        if not data:
            break
        at = rng.randrange(min(len(data), 400)) if rng.random() < 0.5 else rng.randrange(len(data))
        length = rng.choice((1, 2, 4, 8, 64, 1000))
        way = rng.randrange(6)
        if way == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif way == 1:
            data[at : at + length] = rng.randbytes(length)
        elif way == 2:
            data[at : at + length] = bytes([rng.choice((0, 255, 127))]) * length
        elif way == 3:
            del data[at : at + length]
        elif way == 4:
            data[at:at] = data[at : at + length]
        else:
            del data[at:]
    return bytes(data)


def mutated_tree(tree: Any, rng: random.Random) -> Any:
    """JSON data with one value replaced, dropped or repeated somewhere."""
    if isinstance(tree, dict) and tree and rng.random() < 0.8:
        name = rng.choice(list(tree))
        if rng.random() < 0.1:
            return {key: value for key, value in tree.items() if key != name}
        return {**tree, name: mutated_tree(tree[name], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        at = rng.randrange(len(tree))
        return [*tree[:at], mutated_tree(tree[at], rng), *tree[at + rng.randrange(2) :]]
    return rng.choice(JUNK)


def mutated_array(array: np.ndarray, rng: random.Random) -> Any:
    """Another type, shape or value of an array, or no array at all."""
    ways: list[Callable[[], Any]] = [
        lambda: array[: rng.randrange(len(array) + 1)],
        lambda: array[..., None],
        lambda: array.T,
        lambda: array.astype(rng.choice(("f2", "f8", "i1", "u4", "c8", "U3", "?"))),
        lambda: np.where(np.random.default_rng(rng.randrange(2**31)).random(array.shape) < 0.01, np.nan, array),
        lambda: array * rng.choice((0.0, -1.0, 1e30, 1e300)),
        lambda: array.tolist(),
        lambda: [*array.tolist(), [1]],
        lambda: rng.choice(JUNK),
        lambda: np.array([None, "a"], object),
    ]
    with np.errstate(all="ignore"):
        return rng.choice(ways)()


def mutated_labels(tree: Any, rng: random.Random) -> Any:
    """Nested dictionaries and lists of arrays and words with one of them replaced or left out."""
    if isinstance(tree, dict) and tree and rng.random() < 0.95:
        name = rng.choice(list(tree))
        if rng.random() < 0.05:
            return {key: value for key, value in tree.items() if key != name}
        return {**tree, name: mutated_labels(tree[name], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        at = rng.randrange(len(tree))
        return [*tree[:at], mutated_labels(tree[at], rng), *tree[at + 1 :]]
    if isinstance(tree, np.ndarray) and tree.ndim and rng.random() < 0.7:
        return mutated_array(tree, rng)
    return rng.choice(JUNK)
