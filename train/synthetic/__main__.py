"""Renders data sets: `python -m train.synthetic --out DIR --clips 2000`, and the bundled clip: `… sample-clip`.

Videos without ground truth: `--world wild --labels pseudo` for training, `--split test --labels true` to score on.
"""

from __future__ import annotations

import os
import sys

# One thread a worker, which inherits this: more would only fight over the cores (see the README of the data set).
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import tyro  # noqa: E402

# Workers import what they run by its module's name, and a package's __main__ has none that they may import.
from train.synthetic.dataset import DatasetConfig, make_dataset  # noqa: E402
from unish.errors import UniSHError  # noqa: E402


def main(arguments: list[str]) -> int:
    """Runs the command line; bad input is one sentence and exit code 2."""
    try:
        if arguments[:1] == ["sample-clip"]:
            from train.synthetic.sample_clip import SampleClipConfig, make_sample_clip

            prog = "python -m train.synthetic sample-clip"
            make_sample_clip(tyro.cli(SampleClipConfig, args=arguments[1:], prog=prog))
        else:
            make_dataset(tyro.cli(DatasetConfig, args=arguments, prog="python -m train.synthetic"))
    except UniSHError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
