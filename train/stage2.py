"""Stage 2, coarse alignment: human branch and AlignNet learn from labelled clips (BEDLAM); the scene branch is frozen.

    accelerate launch train/stage2.py --data DIR --start WEIGHTS --out runs/stage2 --loop.steps 2000

Bodies follow the SMPL labels, AlignNet the metric scale of the scene and the place of each body.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.engine.schedule import LoopConfig
from train.engine.stage_run import STAGE_LOOP, StageConfig, main, run_stage
from train.objectives.stages import Stage2, Stage2Weights
from unish.models.unish import UniSH


@dataclass(frozen=True)
class Stage2Config(StageConfig):
    """Settings of stage 2."""

    weights: Stage2Weights = field(default_factory=Stage2Weights)
    loop: LoopConfig = STAGE_LOOP
    """AdamW, cosine, clipping at 1. The paper prints no rates, steps or batch sizes; these are ours."""


def run(config: Stage2Config, model: UniSH | None = None) -> UniSH:
    """Run the stage (see `train.engine.stage_run.run_stage`)."""
    return run_stage(config, config.loop, lambda model, body: Stage2(model, body, config.weights), model)


if __name__ == "__main__":
    main(Stage2Config, run, __doc__)
