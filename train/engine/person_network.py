"""What the commands that train the bundled networks for people in images share: options, and the run."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import Accelerator

from train.engine.loop import BatchSource, Objective, fit
from train.engine.run_logger import ValidationReport
from train.engine.schedule import LoopConfig


@dataclass(frozen=True)
class PersonNetworkConfig:
    """Options of a training on rendered people, real ones, or both."""

    out: Path
    """Run folder: metrics, state to resume from, and `weights/` for the network's folder in unish/assets."""
    rendered: Path | None = None
    """Folder with train/*.parquet of synthetic clips (python -m train.synthetic)."""
    real: Path | None = None
    """Folder with train/*.parquet of labelled images (python -m train.data.prepare.label_images)."""
    real_share: float = 0.6
    """Share of training examples that are real."""
    resume: bool = False
    """Go on from the state in the run folder."""
    bfloat16: bool = True
    """Run the network in bfloat16; losses are float32 always."""
    seed: int = 0
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=2e-3, weight_decay=0.02, clip_norm=5.0))


def train_network(
    config: PersonNetworkConfig,
    accelerator: Accelerator,
    objective: Objective,
    batches: BatchSource,
    validate: Callable[[], dict[str, float]],
    save: Callable[[Path], None],
) -> dict[str, float]:
    """Train until the budget is spent, and return the last numbers of `validate`.

    `save` writes the network, whose weights are averaged then, into the folder that it is given, `out/weights`. Raises
    as `fit`.
    """
    return fit(
        accelerator,
        objective,
        batches,
        config.out,
        dataclasses.replace(config.loop, seed=config.seed),
        validate=lambda: ValidationReport(validate()),
        publish=lambda _: save(config.out / "weights"),
        resume=config.resume,
        settings=config,
    )
