"""Trains the bundled keypoint network, and evaluates it on held-out people.

python -m train.person_keypoints train --rendered DIR --real DIR --out RUN --loop.steps 6000
python -m train.person_keypoints evaluate --rendered DIR --real DIR --weights RUN/weights
"""

import json
import sys
from pathlib import Path

import tyro

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from train.cli import command_line_errors
from train.person_keypoints.keypoint_scores import EvaluateConfig, evaluate
from train.person_keypoints.training import TrainConfig, train


def main() -> None:
    """The command line."""
    config = tyro.extras.subcommand_cli_from_dict({"train": TrainConfig, "evaluate": EvaluateConfig})
    with command_line_errors():
        numbers = train(config) if isinstance(config, TrainConfig) else evaluate(config)
        print(json.dumps(numbers, indent=2))


if __name__ == "__main__":
    main()
