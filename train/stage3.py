"""Stage 3, fine alignment: AlignNet learns from unlabelled video to put the body on the points.

    accelerate launch train/stage3.py --data DIR --start WEIGHTS --out runs/stage3 --loop.steps 2000

Visible vertices are pulled to the points of the person, the points must not lie behind the body, and the joints stay
where they are seen in the image. Start from a run of stage 2: without it this diverges (paper).
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # started as a script: the repository's root is not on the path yet
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from train.engine.schedule import LoopConfig
from train.engine.stage_run import STAGE_LOOP, StageConfig, main, run_stage
from train.objectives.stages import Stage3, Stage3Weights
from unish.models.unish import UniSH


@dataclass(frozen=True)
class Stage3Config(StageConfig):
    """Settings of stage 3."""

    weights: Stage3Weights = field(default_factory=Stage3Weights)
    loop: LoopConfig = STAGE_LOOP
    """AdamW, cosine, clipping at 1. The paper prints no rates, steps or batch sizes; these are ours."""


def run(config: Stage3Config, model: UniSH | None = None) -> UniSH:
    """Run the stage (see `train.engine.stage_run.run_stage`)."""
    return run_stage(config, config.loop, lambda model, body: Stage3(model, body, config.weights), model)


if __name__ == "__main__":
    main(Stage3Config, run, __doc__)
