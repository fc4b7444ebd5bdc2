"""Runs a training script with weights sharded over CPU processes, which Accelerate by itself does on GPUs only.

ACCELERATE_USE_CPU=true accelerate launch --config_file train/configs/fsdp.yaml tests/train/force_fsdp.py SCRIPT …
"""

import runpy
import sys
from pathlib import Path

from accelerate import state

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
_initialise = state.AcceleratorState.__init__


def _with_shards(self, *arguments, **options):
    _initialise(self, *arguments, **options)
    if options.get("fsdp_plugin") is not None:
        state.AcceleratorState._shared_state["distributed_type"] = state.DistributedType.FSDP
        state.PartialState._shared_state["distributed_type"] = state.DistributedType.FSDP
        self.fsdp_plugin = options["fsdp_plugin"]


state.AcceleratorState.__init__ = _with_shards
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
