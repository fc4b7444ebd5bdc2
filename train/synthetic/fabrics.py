"""Fabrics of our own for garments: plain weave, stripes, checks, dots, prints, camouflage and denim, as small tiles."""

from __future__ import annotations

import numpy as np

from train.synthetic.painting import TILE, Fabric
from train.synthetic.scenes import random_color

KINDS = {"plain": 0.34, "stripes": 0.14, "checks": 0.14, "dots": 0.06, "print": 0.14, "blotches": 0.06, "twill": 0.12}
"""What a fabric shows, with its share of the garments."""


def random_fabric(rng: np.random.Generator, kind: str | None = None) -> Fabric:
    """A fabric of a random kind (one of KINDS) and random colours."""
    kind = kind or str(rng.choice(list(KINDS), p=list(KINDS.values())))
    ground = random_color(rng, 0.9, 0.01, 0.85)
    inks = [ground + rng.uniform(0.35, 1) * (random_color(rng, 1.0, 0.01, 0.9) - ground) for _ in range(3)]
    weave = 1 + rng.uniform(0.02, 0.16) * (_smooth_noise(rng, 32.0) - 0.5)
    make = {"stripes": _stripes, "checks": _checks, "dots": _dots, "print": _print, "blotches": _blotches}
    tile, period = make[kind](rng, ground, inks) if kind in make else (np.tile(ground, (TILE, TILE, 1)), 0.12)
    if kind == "twill":
        i, j = np.mgrid[:TILE, :TILE]
        weave = weave * (1 + 0.25 * (((i + j) // 2) % 4 < 2)) * (0.75 + 0.5 * _smooth_noise(rng, 6.0))
        period = 0.05
    return Fabric(np.clip(tile * weave[..., None], 0.003, 0.95).astype(np.float32), period)


def hair_fabric(rng: np.random.Generator, color: np.ndarray) -> Fabric:
    """Strands along the second texture coordinate, about a colour."""
    across = np.exp(rng.normal(0, 0.35, TILE))
    strands = across[None] * np.exp(rng.normal(0, 0.05, (TILE, TILE)))
    return Fabric(np.clip(strands[..., None] * color, 0.002, 0.95).astype(np.float32), 0.06)


def plain_fabric(rng: np.random.Generator, low: float = 0.01, high: float = 0.7, vivid: float = 0.5) -> Fabric:
    """One colour: leather, rubber, socks."""
    tile = random_color(rng, vivid, low, high) * (1 + 0.1 * (_smooth_noise(rng, 20.0)[..., None] - 0.5))
    return Fabric(tile.astype(np.float32), 0.08)


def _smooth_noise(rng: np.random.Generator, waves: float) -> np.ndarray:
    """Noise (TILE, TILE) in 0..1 that repeats, with about so many waves in a period."""
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.fftfreq(TILE)[None]) * TILE
    keep = np.exp(-((frequency / waves) ** 2))
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((TILE, TILE))) * keep).real
    return np.clip(0.5 + 0.25 * (field - field.mean()) / (field.std() + 1e-9), 0, 1)


def _bands(rng: np.random.Generator, ground: np.ndarray, inks: list[np.ndarray]) -> np.ndarray:
    """Colours (TILE, 3) across one repeat of a stripe."""
    line = np.tile(ground, (TILE, 1))
    for ink in inks[: int(rng.integers(1, 4))]:
        start, width = int(rng.integers(0, TILE)), int(rng.integers(2, TILE // 2))
        line[(start + np.arange(width)) % TILE] = ink
    return line


def _stripes(rng, ground, inks) -> tuple[np.ndarray, float]:
    tile = np.tile(_bands(rng, ground, inks)[None], (TILE, 1, 1))
    return tile if rng.random() < 0.5 else tile.transpose(1, 0, 2), np.exp(rng.uniform(np.log(0.02), np.log(0.2)))


def _checks(rng, ground, inks) -> tuple[np.ndarray, float]:
    bands = _bands(rng, ground, inks)
    return 0.5 * (bands[None] + bands[:, None]), np.exp(rng.uniform(np.log(0.02), np.log(0.22)))


def _dots(rng, ground, inks) -> tuple[np.ndarray, float]:
    i, j = (np.mgrid[:TILE, :TILE] + 0.5) / TILE
    radius = rng.uniform(0.1, 0.3)
    first = np.hypot(i - 0.25, j - 0.25) < radius
    second = np.hypot(i - 0.75, j - 0.75) < radius
    return np.where((first | second)[..., None], inks[0], ground), rng.uniform(0.025, 0.12)


def _print(rng, ground, inks) -> tuple[np.ndarray, float]:
    """Leaves, petals and blobs strewn over the ground."""
    tile = np.tile(ground, (TILE, TILE, 1))
    i, j = (np.mgrid[:TILE, :TILE] + 0.5) / TILE
    for _ in range(int(rng.integers(5, 22))):
        di, dj = ((axis - rng.random() + 0.5) % 1 - 0.5 for axis in (i, j))
        angle, size, petals = np.arctan2(di, dj), rng.uniform(0.06, 0.2), int(rng.integers(0, 7))
        edge = size * (1 + 0.5 * np.cos(petals * angle + rng.uniform(0, 6)) * (petals > 1))
        stretch = rng.uniform(0.4, 1.0)
        c, s = np.cos(rng.uniform(0, 3)), np.sin(rng.uniform(0, 3))
        distance = np.hypot(c * di + s * dj, (-s * di + c * dj) / stretch)
        tile[distance < edge] = inks[int(rng.integers(0, 3))]
    return tile, rng.uniform(0.1, 0.45)


def _blotches(rng, ground, inks) -> tuple[np.ndarray, float]:
    tile = np.tile(ground, (TILE, TILE, 1))
    for ink in inks:
        tile[_smooth_noise(rng, rng.uniform(3, 8)) > rng.uniform(0.5, 0.7)] = ink
    return tile, rng.uniform(0.15, 0.5)
