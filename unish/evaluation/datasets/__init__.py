"""One module per benchmark: `benchmark("bonn")` has the reader of the data as downloaded, and the protocol."""

import importlib
from typing import TYPE_CHECKING

from unish.errors import InputError

if TYPE_CHECKING:
    from unish.evaluation.benchmark import Benchmark

_MODULES = {
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
NAMES = tuple(_MODULES)
"""The benchmarks, as the command line calls them."""


def benchmark(name: str) -> "Benchmark":
    """The benchmark of a name. Raises InputError, listing the names, for an unknown one."""
    if name not in _MODULES:
        raise InputError(f"Expected a benchmark out of {', '.join(NAMES)}, got {name!r}; choose one of those.")
    module, constant = _MODULES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), constant)


__all__ = ["NAMES", "benchmark"]
