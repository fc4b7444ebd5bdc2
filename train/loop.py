"""The loop that trains one part: Accelerate, a time or step budget, averaged weights, exact resumption."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from tqdm import tqdm

from train.batches import Batch, Clips
from train.parts import Part
from unish.errors import InputError
from unish.files import atomic_path

VALIDATION_SEED = 987_654
DEFAULT_RATE = 1e-3


@dataclass(frozen=True)
class LoopConfig:
    """How one part is optimised."""

    minutes: float | None = None
    """Budget in wall-clock time, resumed time included; the learning rate follows it."""
    steps: int | None = None
    """Budget in steps: the same seed then gives the same numbers."""
    learning_rate: float | None = None
    """Peak; None takes the part's own."""
    final_rate: float = 0.01
    """Learning rate at the end, as a share of its peak (cosine)."""
    warmup_steps: int = 100
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    average: float = 0.998
    """Decay of the exponential moving average of the weights, which is what is saved in the end."""
    accumulate: int = 1
    seed: int = 0
    log_every: int = 20
    validation_batches: int = 6
    save_minutes: float = 5.0
    refresh_seconds: float = 2.0
    """Time taken every `log_every` steps to read clips that have appeared since."""


class Progress:
    """How far a run is; saved and restored with it."""

    def __init__(self) -> None:
        self.step, self.seconds = 0, 0.0

    def share(self, config: LoopConfig) -> float:
        """Used part of the budget, 0..1."""
        if config.steps is not None:
            return min(1.0, self.step / config.steps)
        return min(1.0, self.seconds / (60.0 * float(config.minutes or 0.0)))

    def state_dict(self) -> dict[str, float]:
        return {"step": self.step, "seconds": self.seconds}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


class AveragedWeights:
    """Exponential moving average of a module's parameters; younger runs forget faster."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.named_parameters():
            self.shadow[name].lerp_(value.detach(), 1 - decay)

    @contextlib.contextmanager
    def applied(self, module: nn.Module):
        """The module with averaged weights, inside a `with`."""
        own = {name: value.detach().clone() for name, value in module.named_parameters()}
        self._write(module, self.shadow)
        yield module
        self._write(module, own)

    @staticmethod
    @torch.no_grad()
    def _write(module: nn.Module, values: dict[str, Tensor]) -> None:
        for name, value in module.named_parameters():
            value.copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        return self.shadow

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.shadow = {name: value.clone() for name, value in state.items()}


def learning_rate(config: LoopConfig, progress: Progress) -> float:
    """Linear warm-up over steps, then a cosine over the budget."""
    warm = min(1.0, (progress.step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * progress.share(config)))
    return float(config.learning_rate or DEFAULT_RATE) * warm * (config.final_rate + (1 - config.final_rate) * cosine)


def fit(
    part: Part,
    clips: Clips,
    held_out: Clips,
    folder: Path,
    config: LoopConfig,
    *,
    resume: bool = False,
    publish: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Train a part until its budget is spent; leaves the averaged weights in its modules.

    Writes `metrics.jsonl` and `state/` (model, optimiser, generators, progress) into `folder`; with `resume` it goes on
    from there. `publish` is called, with the averaged weights in place, at every save and at the end. Returns the last
    validation's terms.
    """
    if (config.minutes is None) == (config.steps is None):
        raise InputError("Expected a budget in either minutes or steps, received both or none. Give one of them.")
    accelerator = Accelerator(gradient_accumulation_steps=config.accumulate)
    set_seed(config.seed)
    module: nn.Module = part  # type: ignore[assignment]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    trainable = part.trainable().requires_grad_(True).train()
    optimizer = torch.optim.AdamW(
        _parameter_groups(trainable, config.weight_decay), lr=learning_rate(config, Progress()), betas=config.betas
    )
    wrapped, optimizer = accelerator.prepare(module, optimizer)
    average, progress = AveragedWeights(trainable, config.average), Progress()
    accelerator.register_for_checkpointing(average, progress)
    if resume and (folder / "state").is_dir():
        accelerator.load_state(str(folder / "state"))
    journal = Journal(folder, accelerator.is_main_process, fresh=progress.step == 0)
    results: dict[str, float] = {}

    def validate_and_save(last: bool) -> None:
        nonlocal results
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            _save_state(accelerator, folder / "state")
        with average.applied(trainable):
            results = validate(part, held_out, config)
            journal.write(progress, {f"held_out.{name}": value for name, value in results.items()})
            if publish is not None and accelerator.is_main_process and not last:
                publish()

    bar = tqdm(total=1000, desc=part.name, disable=not accelerator.is_main_process, bar_format=BAR, mininterval=5)
    saved_at, norm, rate = progress.seconds, 0.0, 0.0
    clock = time.monotonic()
    while progress.share(config) < 1:
        terms: list[dict[str, Tensor]] = []
        for micro in range(config.accumulate):
            rng = np.random.default_rng((config.seed, progress.step, micro, accelerator.process_index))
            batch = _to(part.batch(clips, rng), accelerator.device)
            with accelerator.accumulate(wrapped):
                terms.append(wrapped(batch))
                accelerator.backward(sum(terms[-1].values()))
                if accelerator.sync_gradients:
                    norm = float(accelerator.clip_grad_norm_(trainable.parameters(), config.clip_norm) or 0.0)
                    rate = learning_rate(config, progress)
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    if math.isfinite(norm):  # one bad batch must not end a run
                        optimizer.step()
                optimizer.zero_grad()
        average.update(trainable, progress.step)
        progress.step += 1
        now = time.monotonic()
        progress.seconds, clock = progress.seconds + now - clock, now
        if progress.step % config.log_every == 0:
            numbers = {name: float(np.mean([float(t[name].detach()) for t in terms])) for name in terms[0]}
            journal.write(progress, numbers | {"lr": rate, "grad_norm": norm, "clips": len(clips)})
            bar.n = int(1000 * progress.share(config))
            bar.set_postfix_str(f"step {progress.step} loss {sum(numbers.values()):.3f}")
            if hasattr(clips, "refresh"):
                clips.refresh(config.refresh_seconds)  # type: ignore[attr-defined]
        if progress.seconds - saved_at > 60 * config.save_minutes:
            saved_at = progress.seconds
            validate_and_save(last=False)
    bar.close()
    validate_and_save(last=True)
    average._write(trainable, average.shadow)
    trainable.eval().requires_grad_(False)
    if publish is not None and accelerator.is_main_process:
        publish()
    return results


BAR = "{desc} {percentage:3.0f}% {bar} {elapsed} {postfix}"


@torch.no_grad()
def validate(part: Part, held_out: Clips, config: LoopConfig) -> dict[str, float]:
    """Mean of each loss term over the same few batches of held-out clips every time; {} without such clips."""
    if not len(held_out):
        return {}
    trainable = part.trainable().eval()
    device = next(trainable.parameters()).device
    rows = []
    for index in range(config.validation_batches):
        batch = _to(part.batch(held_out, np.random.default_rng((VALIDATION_SEED, index))), device)
        rows.append({name: float(value) for name, value in part(batch).items()})
    trainable.train()
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


class Journal:
    """`metrics.jsonl`: one line of numbers at a time, each with its step and seconds."""

    def __init__(self, folder: Path, active: bool, fresh: bool) -> None:
        self._path, self._active = folder / "metrics.jsonl", active
        if active:
            folder.mkdir(parents=True, exist_ok=True)
            if fresh:
                self._path.write_text("")

    def write(self, progress: Progress, numbers: dict[str, float]) -> None:
        """Append one line."""
        if self._active and numbers:
            row = {"step": progress.step, "seconds": round(progress.seconds, 1)}
            row |= {name: float(f"{value:.6g}") for name, value in numbers.items()}
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def _parameter_groups(module: nn.Module, weight_decay: float) -> Sequence[dict]:
    """Matrices and kernels decay; biases, norms and learned tokens do not."""
    decayed = [p for name, p in module.named_parameters() if p.ndim > 1 and name.endswith("weight")]
    chosen = {id(p) for p in decayed}
    rest = [p for p in module.parameters() if id(p) not in chosen]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _to(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}


def _save_state(accelerator: Accelerator, folder: Path) -> None:
    with atomic_path(folder) as temporary:
        accelerator.save_state(str(temporary), safe_serialization=False)
