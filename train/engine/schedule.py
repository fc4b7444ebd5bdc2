"""How long a training run lasts, and its learning rate on the way."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import tyro

DEFAULT_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class LoopConfig:
    """Settings of the training loop."""

    minutes: float | None = None
    """Budget in wall-clock time, resumed runs included; the learning rate follows it."""
    steps: int | None = None
    """Budget in steps: the same seed then gives the same numbers."""
    learning_rate: float | None = None
    """Peak learning rate; None takes the command's own."""
    final_rate: float = 0.01
    """Learning rate at the end, as a share of its peak (cosine)."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises to its peak."""
    weight_decay: float = 0.05
    """AdamW's weight decay of matrices and kernels."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's decay rates of the moving averages of gradients and of their squares."""
    clip_norm: float = 1.0
    """Largest norm of the gradient over all trained parameters."""
    average: float = 0.998
    """Decay of the exponential moving average (EMA) of the weights; the averaged weights are the result of a run."""
    accumulate: int = 1
    """Batches per step and process (gradient accumulation)."""
    seed: tyro.conf.Suppress[int] = 0
    log_every: int = 20
    """Steps between lines of metrics.jsonl."""
    validate_every: int | None = None
    """Steps between validations; None: whenever the state is saved."""
    save_every: int | None = None
    """Steps between saved states; None: by time alone."""
    save_minutes: float = 5.0
    """Most minutes between saved states."""
    tracker: Literal["none", "tensorboard", "wandb"] = "none"
    """Experiment tracker that receives numbers and images besides the run folder."""


class RunProgress:
    """How far a run has come, in steps and seconds; saved and restored with it."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0

    def share(self, config: LoopConfig) -> float:
        """Used share of the budget, 0..1."""
        if config.steps is not None:
            return min(1.0, self.step / config.steps)
        return min(1.0, self.seconds / (60.0 * float(config.minutes or 0.0)))

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


def learning_rate(config: LoopConfig, progress: RunProgress) -> float:
    """Linear warm-up over steps, then a cosine over the budget."""
    warmup = min(1.0, (progress.step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * progress.share(config)))
    peak = float(config.learning_rate or DEFAULT_LEARNING_RATE)
    return peak * warmup * (config.final_rate + (1 - config.final_rate) * cosine)
