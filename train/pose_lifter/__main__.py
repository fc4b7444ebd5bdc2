"""Trains the bundled pose lifter, and evaluates it on held-out people.

python -m train.pose_lifter train --rendered DIR --motions DIR --out RUN --loop.steps 20000
python -m train.pose_lifter evaluate --rendered DIR --weights RUN/weights
"""

import json
import sys
from pathlib import Path

import tyro

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from train.cli import command_line_errors
from train.pose_lifter.lifter_scores import EvaluateConfig, evaluate
from train.pose_lifter.training import TrainConfig, train


def main() -> None:
    """The command line."""
    config = tyro.extras.subcommand_cli_from_dict({"train": TrainConfig, "evaluate": EvaluateConfig})
    with command_line_errors():
        numbers = train(config) if isinstance(config, TrainConfig) else evaluate(config)
        print(json.dumps(numbers, indent=2))


if __name__ == "__main__":
    main()
