"""The loop that every training script shares: Accelerate, a budget, averaged weights, trackers, exact resumption."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import tyro
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from tqdm import tqdm

from train.data.pretrain_batches import Batch, to_device
from train.engine.ema import AveragedWeights
from train.engine.run_logger import Report, RunLogger
from unish.errors import InputError
from unish.utils.atomic_write import atomic_path

DEFAULT_RATE = 1e-3
MOST_BAD_STEPS = 20
"""So many steps in a row without a finite gradient end a run."""


class Part(Protocol):
    """What the loop trains (an `nn.Module`).

    `TRAINED` are the prefixes, in its own tree, of what learns; `RATES`, where it has them, factors of the learning
    rate by prefix.
    """

    @property
    def name(self) -> str: ...

    @property
    def TRAINED(self) -> tuple[str, ...]: ...

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms of a batch; their sum is minimised."""
        ...


class Batches(Protocol):
    """Batches without end, whose place can be saved and found again."""

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class LoopConfig:
    """How something is optimised."""

    minutes: float | None = None
    """Budget in wall-clock time, resumed time included; the learning rate follows it."""
    steps: int | None = None
    """Budget in steps: the same seed then gives the same numbers."""
    learning_rate: float | None = None
    """Peak; None takes the script's own."""
    final_rate: float = 0.01
    """Learning rate at the end, as a share of its peak (cosine)."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises to its peak."""
    weight_decay: float = 0.05
    """Of matrices and kernels (AdamW)."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's memory of gradients and of their squares."""
    clip_norm: float = 1.0
    """Largest norm of the gradient of all that learns."""
    average: float = 0.998
    """Decay of the exponential moving average of the weights, which is what is saved in the end."""
    accumulate: int = 1
    """Batches of each process that make one step."""
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
    """Where numbers and pictures go besides metrics.jsonl."""


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


def learning_rate(config: LoopConfig, progress: Progress) -> float:
    """Linear warm-up over steps, then a cosine over the budget."""
    warm = min(1.0, (progress.step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * progress.share(config)))
    return float(config.learning_rate or DEFAULT_RATE) * warm * (config.final_rate + (1 - config.final_rate) * cosine)


def accelerator_for(config: LoopConfig, folder: Path) -> Accelerator:
    """One accelerator a run. Its own mixed precision stays off: the network's trunks choose bfloat16 themselves, and
    losses, rotations and metres must not be rounded."""
    return Accelerator(
        mixed_precision="no",
        gradient_accumulation_steps=config.accumulate,
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=str(folder),
    )


def fit(
    accelerator: Accelerator,
    part: Part,
    batches: Batches,
    folder: Path,
    config: LoopConfig,
    *,
    validate: Callable[[], Report] | None = None,
    publish: Callable[[dict[str, Tensor] | None], None] | None = None,
    resume: bool = False,
    settings: Any = None,
) -> dict[str, float]:
    """Train a part until its budget is spent; leaves the averaged weights in its modules.

    Writes into `folder`: `run.json` (settings, commit, versions), `metrics.jsonl`, `pictures/`, and `state/` (what
    learns, optimiser, generators, place in the data), from which `resume` goes on. `validate` and `publish` are called
    with the averaged weights in place, on the main process, every so often and in the end; `publish` gets the part's
    tensors where they are sharded over processes, else None. Returns the last validation's numbers.

    Raises InputError without a budget, or when gradients stay infinite.
    """
    if (config.minutes is None) == (config.steps is None):
        raise InputError("Expected a budget in either minutes or steps, received both or none. Give one of them.")
    return _Run(accelerator, part, batches, folder, config, validate, publish, settings).train(resume)


class _Run:
    """The state of one `fit`."""

    def __init__(self, accelerator, part, batches, folder, config, validate, publish, settings) -> None:
        set_seed(config.seed)
        self.accelerator, self.part, self.batches = accelerator, part, batches
        self.folder, self.config, self.validate, self.publish = folder, config, validate, publish
        self.trained = only_trained(part)
        optimizer = torch.optim.AdamW(
            _parameter_groups(self.trained, config.weight_decay, getattr(part, "RATES", {})),
            lr=learning_rate(config, Progress()),
            betas=config.betas,
        )
        self.wrapped, self.optimizer = accelerator.prepare(part, optimizer)
        self.sharded = accelerator.distributed_type == "FSDP"
        if self.sharded:  # sharded parameters are other objects than before
            self.trained = {n: p for n, p in self.wrapped.named_parameters() if p.requires_grad}
        self.average, self.progress = AveragedWeights(self.trained, config.average), Progress()
        accelerator.register_save_state_pre_hook(_leave_out_frozen(set(self.trained)))
        self.journal = RunLogger(folder, accelerator, config.tracker, settings)
        self.results: dict[str, float] = {}
        self.bad_steps = 0

    def train(self, resume: bool) -> dict[str, float]:
        config, progress = self.config, self.progress
        if resume and (self.folder / "state").is_dir():
            self._load(self.folder / "state")
        self.journal.start(progress)
        main = self.accelerator.is_main_process
        bar = tqdm(total=1000, desc=self.part.name, disable=not main, bar_format=BAR, mininterval=5)
        saved_at, clock = progress.seconds, time.monotonic()
        while progress.share(config) < 1:
            terms, norm, rate = self._step()
            progress.step += 1
            now = time.monotonic()
            progress.seconds, clock = progress.seconds + now - clock, now
            if progress.step % config.log_every == 0:
                numbers = self._mean(terms)
                self.journal.write(progress, numbers | {"lr": rate, "grad_norm": norm})
                bar.n = int(1000 * progress.share(config))
                bar.set_postfix_str(f"step {progress.step} loss {sum(numbers.values()):.4g}")
            last = progress.share(config) >= 1
            if not last and self._due(config.save_every, progress.seconds - saved_at):
                saved_at = progress.seconds
                self._save()
                self._report(publish=True, validate=config.validate_every is None)
            if not last and config.validate_every and progress.step % config.validate_every == 0:
                self._report(publish=False, validate=True)
        bar.close()
        self._save()
        self._report(publish=False, validate=True)
        self.average.apply()
        module: nn.Module = self.part  # type: ignore[assignment]
        module.eval().requires_grad_(False)
        self._publish()
        self.accelerator.end_training()
        return self.results

    def _step(self) -> tuple[list[dict[str, Tensor]], float, float]:
        """One step over `accumulate` batches; a gradient that is not finite is left out."""
        config, norm, terms = self.config, 0.0, []
        self.wrapped.train()
        rate = learning_rate(config, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        for _ in range(config.accumulate):
            batch = to_device(next(self.batches), self.accelerator.device)
            with self.accelerator.accumulate(self.wrapped):
                terms.append(self.wrapped(batch))
                self.accelerator.backward(sum(terms[-1].values()))
                if self.accelerator.sync_gradients:
                    norm = float(self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_norm) or 0.0)
                    self._check(norm)
                    if math.isfinite(norm):
                        self.optimizer.step()
                self.optimizer.zero_grad()
        self.average.update(self.progress.step)
        return terms, norm, rate

    def _check(self, norm: float) -> None:
        self.bad_steps = 0 if math.isfinite(norm) else self.bad_steps + 1
        if self.bad_steps >= MOST_BAD_STEPS:
            raise InputError(
                f"Expected finite gradients, received none in {MOST_BAD_STEPS} steps in a row. Check the data, or use "
                "a smaller --loop.learning-rate."
            )

    def _mean(self, terms: list[dict[str, Tensor]]) -> dict[str, float]:
        """Each term's mean over the step's batches and over all processes."""
        means = torch.stack([torch.stack([row[name].detach() for row in terms]).mean() for name in terms[0]])
        reduced: Any = self.accelerator.reduce(means, reduction="mean")
        return dict(zip(terms[0], reduced.tolist(), strict=True))

    def _due(self, every: int | None, seconds: float) -> bool:
        return bool(every and self.progress.step % every == 0) or seconds > 60 * self.config.save_minutes

    def _save(self) -> None:
        """The state, under its name only once it is whole."""
        target = self.folder / "state"
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and self.accelerator.num_processes == 1:
            with atomic_path(target) as temporary:
                self._write(temporary)
            return
        new = target.with_name("state.new")  # every process writes a part of it
        self._write(new)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with atomic_path(target) as temporary:
                new.rename(temporary)
        self.accelerator.wait_for_everyone()

    def _write(self, folder: Path) -> None:
        self.accelerator.save_state(str(folder), safe_serialization=False)
        own = {name: part.state_dict() for name, part in self._own_parts().items()}
        torch.save(own, folder / f"process_{self.accelerator.process_index}.pt")

    def _load(self, folder: Path) -> None:
        own = folder / f"process_{self.accelerator.process_index}.pt"
        saved = len(list(folder.glob("process_*.pt")))
        if saved != self.accelerator.num_processes:
            raise InputError(
                f"Expected to resume with the {saved} processes that {folder} was saved by, received "
                f"{self.accelerator.num_processes}. Start as many, or start anew from the run's weights."
            )
        # Parts of the network that never learn are not in the state: they are those of the start model.
        self.accelerator.load_state(str(folder), **({} if self.sharded else {"strict": False}))
        state = torch.load(own, map_location="cpu", weights_only=True)
        for name, part in self._own_parts().items():
            part.load_state_dict(state[name])

    def _own_parts(self) -> dict[str, Any]:
        """What differs from process to process, which Accelerate's own state does not keep apart."""
        return {"average": self.average, "progress": self.progress, "batches": self.batches}

    def _report(self, publish: bool, validate: bool) -> None:
        """Validation and weights, with the averaged weights in place; the generators stay as they were."""
        module: nn.Module = self.part  # type: ignore[assignment]
        main = self.accelerator.is_main_process
        with self.average.applied(), torch.random.fork_rng():
            module.eval()
            # Validation runs the network piece by piece on one process, which shards cannot.
            if validate and self.validate is not None and main and not self.sharded:
                report = self.validate()
                self.results = dict(report.numbers)
                self.journal.write(self.progress, {f"held_out.{k}": v for k, v in self.results.items()})
                self.journal.show(self.progress, report.pictures)
            if publish:
                self._publish()
        self.accelerator.wait_for_everyone()

    def _publish(self) -> None:
        """Hand out the weights: None where they stand in the part's own modules, else all of its tensors."""
        if self.publish is None:
            return
        state = self.accelerator.get_state_dict(self.wrapped) if self.sharded else None  # every process takes part
        if self.accelerator.is_main_process:
            self.publish(state)


BAR = "{desc} {percentage:3.0f}% {bar} {elapsed} {postfix}"


def only_trained(part: Part) -> dict[str, nn.Parameter]:
    """Let only what `TRAINED` names learn; returns those parameters by name."""
    module: nn.Module = part  # type: ignore[assignment]
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name.startswith(tuple(part.TRAINED)))
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def _parameter_groups(
    parameters: dict[str, nn.Parameter], weight_decay: float, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases, norms and learned tokens do not. `factor` is of the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = weight_decay if parameter.ndim > 1 and name.endswith("weight") else 0.0
        factor = next((rate for prefix, rate in rates.items() if name.startswith(prefix)), 1.0)
        groups.setdefault((decay, factor), []).append(parameter)
    return [{"params": group, "weight_decay": d, "factor": f} for (d, f), group in groups.items()]


def _leave_out_frozen(trained: set[str]) -> Callable[[Iterable, list[dict], str], None]:
    """Frozen weights come from the start model and need not be saved with every state."""

    def hook(models: Iterable, weights: list[dict], folder: str) -> None:
        for state in weights:
            for name in [name for name in state if name.removeprefix("module.") not in trained]:
                del state[name]

    return hook
