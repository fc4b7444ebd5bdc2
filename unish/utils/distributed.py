"""Several processes that share a list of work, as `accelerate launch` starts them."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from unish.errors import OUT_OF_MEMORY, MissingDependencyError, UniSHError, is_out_of_memory

LONGEST_WAIT = timedelta(days=14)
"""How long a process that is done waits for the others."""


@dataclass(frozen=True)
class Rank:
    """This process among those that share the work."""

    index: int = 0
    count: int = 1
    device: str | None = None
    """Where its network should run; None: anywhere."""

    @property
    def main(self) -> bool:
        """Whether it is the one that speaks for all."""
        return self.index == 0

    def of(self, work: list[Any]) -> list[Any]:
        """Its part of the work."""
        return work[self.index :: self.count]

    def gathered(self, mine: list[Any]) -> list[Any]:
        """What all processes have, process by process, once all of them are done; they part afterwards."""
        if self.count == 1:
            return mine
        from accelerate import PartialState
        from accelerate.utils import gather_object

        everybody = gather_object(mine)
        PartialState().destroy_process_group()
        return everybody


def launched_rank(device: str | None = None) -> Rank:
    """The share of a process started by `accelerate launch`; all of the work for one started by itself.

    On the GPUs, one a process, unless the device is "cpu" or there are none. Raises MissingDependencyError when several
    processes were started without accelerate being installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Rank()
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingDependencyError(
            "Several processes share the work through the package accelerate, which is not installed; "
            "pip install accelerate, or start one process."
        ) from error
    import torch

    told = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    on_cpu = device == "cpu" or told or not torch.cuda.is_available()
    state = PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    return Rank(state.process_index, state.num_processes, "cpu" if on_cpu else str(state.device))


def sentence_of(error: Exception) -> str:
    """What went wrong in one line: our own errors say it themselves, others by their type and first line."""
    if isinstance(error, UniSHError):
        return str(error)
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no words'}"
