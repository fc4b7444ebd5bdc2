"""One reader a benchmark: `benchmark("bonn")` knows how to read the data as downloaded, and its protocol."""

import importlib
from typing import TYPE_CHECKING

from unish.errors import InputError

if TYPE_CHECKING:
    from unish.evaluation.benchmark import Benchmark

_PLACES = {
    "bonn": ("bonn", "BONN"),
    "tum": ("tum", "TUM"),
    "sintel": ("sintel", "SINTEL"),
    "sintel_clean": ("sintel", "SINTEL_CLEAN"),
    "emdb1": ("emdb", "EMDB_1"),
    "emdb2": ("emdb", "EMDB_2"),
    "rich": ("rich", "RICH"),
    "3dpw": ("threedpw", "THREEDPW"),
    "synthetic": ("synthetic", "SYNTHETIC"),
}
NAMES = tuple(_PLACES)
"""The benchmarks, as the command line calls them."""


def benchmark(name: str) -> "Benchmark":
    """The benchmark of a name. Raises InputError, listing the names, for one that there is not."""
    if name not in _PLACES:
        raise InputError(f"There is no benchmark {name!r}; choose one of {', '.join(NAMES)}.")
    module, constant = _PLACES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), constant)


__all__ = ["NAMES", "benchmark"]
