"""Stage 1, surface refinement: point decoder and point head learn from unlabelled video with pseudo-depth.

    accelerate launch train/stage1.py --data DIR --start WEIGHTS --out runs/stage1 --loop.steps 2000

Local surfaces of people follow a labeller's depth, each patch up to a scale and a shift; all points stay near the
start model's.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.engine.schedule import LoopConfig
from train.engine.stage_run import STAGE_LOOP, StageConfig, main, run_stage
from train.objectives.stages import Stage1, Stage1Weights
from unish.models.unish import UniSH


@dataclass(frozen=True)
class Stage1Config(StageConfig):
    """Settings of stage 1."""

    weights: Stage1Weights = field(default_factory=Stage1Weights)
    loop: LoopConfig = STAGE_LOOP
    """AdamW, cosine, clipping at 1. The paper prints no rates, steps or batch sizes; these are ours."""


def run(config: Stage1Config, model: UniSH | None = None) -> UniSH:
    """Run the stage (see `train.engine.stage_run.run_stage`)."""
    return run_stage(config, config.loop, lambda model, body: Stage1(model, body, config.weights), model)


if __name__ == "__main__":
    main(Stage1Config, run, __doc__)
