"""The training loop of every command: Accelerate, a budget, averaged weights, a log, exact resumption."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from tqdm import tqdm

from train.data.batches import Batch
from train.engine.ema import ExponentialMovingAverage, buffers_of_trained
from train.engine.run_logger import RunLogger, ValidationReport
from train.engine.schedule import LoopConfig, RunProgress, learning_rate
from unish.errors import InputError
from unish.utils.atomic_write import atomic_path

MAX_BAD_STEPS = 20
"""This many consecutive steps without a finite gradient end a run."""

Terms = dict[str, Tensor]


@runtime_checkable
class Objective(Protocol):
    """What the loop trains: an `nn.Module` around a network whose forward pass gives the loss.

    Only parameters whose names start with one of `trainable` learn. An objective may also have `rate_factors`, from a
    prefix of parameter names to a factor on their learning rate.
    """

    @property
    def name(self) -> str: ...

    @property
    def trainable(self) -> tuple[str, ...]: ...

    def __call__(self, batch: Any) -> Terms:
        """Weighted loss terms of a batch; their sum is minimised."""
        ...


@runtime_checkable
class BatchSource(Protocol):
    """An endless iterator of batches whose position can be saved and restored."""

    def __next__(self) -> Batch: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def accelerator_for(config: LoopConfig, folder: Path) -> Accelerator:
    """The accelerator of one run. Its mixed precision stays off: the network's trunks choose bfloat16 themselves, and
    losses, rotations and metres must not be rounded."""
    return Accelerator(
        mixed_precision="no",
        gradient_accumulation_steps=config.accumulate,
        log_with=None if config.tracker == "none" else config.tracker,
        project_dir=str(folder),
    )


def fit(
    accelerator: Accelerator,
    objective: Objective,
    batches: BatchSource,
    folder: Path,
    config: LoopConfig,
    *,
    validate: Callable[[], ValidationReport] | None = None,
    publish: Callable[[dict[str, Tensor] | None], None] | None = None,
    resume: bool = False,
    settings: Any = None,
) -> dict[str, float]:
    """Train an objective until its budget is spent; its modules then hold the averaged weights.

    Writes into `folder`: `run.json` (settings, commit, versions), `metrics.jsonl`, `images/`, and `state/` (trained
    parameters, optimiser, random generators, position in the data), from which `resume` continues. `validate` and
    `publish` are called from time to time and at the end, on the main process, with the averaged weights in place;
    `publish` receives the objective's tensors where they are sharded over processes, else None. Returns the metrics of
    the last validation.

    Raises InputError without a budget, or when gradients stay infinite.
    """
    if (config.minutes is None) == (config.steps is None):
        raise InputError("Expected a budget in either minutes or steps, got both or none; give one of them.")
    return _Run(accelerator, objective, batches, folder, config, validate, publish, settings).train(resume)


class _Run:
    """The state of one `fit`."""

    def __init__(self, accelerator, objective, batches, folder, config, validate, publish, settings) -> None:
        set_seed(config.seed)
        self.accelerator, self.objective, self.batches = accelerator, objective, batches
        self.folder, self.config, self.validate, self.publish = folder, config, validate, publish
        trained = freeze_untrained(objective)
        optimizer = torch.optim.AdamW(
            _parameter_groups(trained, config.weight_decay, getattr(objective, "rate_factors", {})),
            lr=learning_rate(config, RunProgress()),
            betas=config.betas,
        )
        self.wrapped, self.optimizer = accelerator.prepare(objective, optimizer)
        self.sharded = accelerator.distributed_type == "FSDP"
        changing: dict[str, Tensor] = dict(trained)
        if self.sharded:  # sharded parameters are other objects than before
            changing = {n: p for n, p in self.wrapped.named_parameters() if p.requires_grad}
        changing |= buffers_of_trained(self.wrapped if self.sharded else objective)
        self.ema, self.progress = ExponentialMovingAverage(changing, config.average), RunProgress()
        accelerator.register_save_state_pre_hook(_leave_out_frozen(set(changing)))
        self.logger = RunLogger(folder, accelerator, config.tracker, settings)
        self.metrics: dict[str, float] = {}
        self.bad_steps = 0

    def train(self, resume: bool) -> dict[str, float]:
        config, progress = self.config, self.progress
        if resume and (self.folder / "state").is_dir():
            self._load(self.folder / "state")
        self.logger.start(progress)
        is_main = self.accelerator.is_main_process
        bar = tqdm(total=1000, desc=self.objective.name, disable=not is_main, bar_format=BAR, mininterval=5)
        saved_at, clock = progress.seconds, time.monotonic()
        while progress.share(config) < 1:
            terms, norm, rate = self._step()
            progress.step += 1
            now = time.monotonic()
            progress.seconds, clock = progress.seconds + now - clock, now
            if progress.step % config.log_every == 0:
                means = self._mean(terms)
                self.logger.write(progress, means | {"lr": rate, "grad_norm": norm})
                bar.n = int(1000 * progress.share(config))
                bar.set_postfix_str(f"step {progress.step} loss {sum(means.values()):.4g}")
            last = progress.share(config) >= 1
            if not last and self._save_is_due(progress.seconds - saved_at):
                saved_at = progress.seconds
                self._save()
                self._report(publish=True, validate=config.validate_every is None)
            if not last and config.validate_every and progress.step % config.validate_every == 0:
                self._report(publish=False, validate=True)
        bar.close()
        self._save()
        self._report(publish=False, validate=True)
        self.ema.apply()
        _module(self.objective).eval().requires_grad_(False)
        self._publish()
        self.accelerator.end_training()
        return self.metrics

    def _step(self) -> tuple[list[Terms], float, float]:
        """One optimiser step over `accumulate` batches; a gradient that is not finite is skipped."""
        config, norm, terms = self.config, 0.0, []
        self.wrapped.train()
        rate = learning_rate(config, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        for _ in range(config.accumulate):
            batch = next(self.batches).to(self.accelerator.device)
            with self.accelerator.accumulate(self.wrapped):
                terms.append(self.wrapped(batch))
                self.accelerator.backward(sum(terms[-1].values()))
                if self.accelerator.sync_gradients:
                    norm = float(self.accelerator.clip_grad_norm_(self.wrapped.parameters(), config.clip_norm) or 0.0)
                    self._check(norm)
                    if math.isfinite(norm):
                        self.optimizer.step()
                self.optimizer.zero_grad()
        self.ema.update(self.progress.step)
        return terms, norm, rate

    def _check(self, norm: float) -> None:
        self.bad_steps = 0 if math.isfinite(norm) else self.bad_steps + 1
        if self.bad_steps >= MAX_BAD_STEPS:
            raise InputError(
                f"Expected finite gradients, got none in {MAX_BAD_STEPS} consecutive steps; check the data, or use a "
                "smaller --loop.learning-rate."
            )

    def _mean(self, terms: list[Terms]) -> dict[str, float]:
        """Each term's mean over the step's batches and over all processes."""
        means = torch.stack([torch.stack([row[name].detach() for row in terms]).mean() for name in terms[0]])
        reduced: Any = self.accelerator.reduce(means, reduction="mean")
        return dict(zip(terms[0], reduced.tolist(), strict=True))

    def _save_is_due(self, seconds: float) -> bool:
        every = self.config.save_every
        return bool(every and self.progress.step % every == 0) or seconds > 60 * self.config.save_minutes

    def _save(self) -> None:
        """Write the state; it appears under its name only when it is complete."""
        target = self.folder / "state"
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process and self.accelerator.num_processes == 1:
            with atomic_path(target) as temporary:
                self._write(temporary)
            return
        new = target.with_name("state.new")  # every process writes its own files
        self._write(new)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with atomic_path(target) as temporary:
                new.rename(temporary)
        self.accelerator.wait_for_everyone()

    def _write(self, folder: Path) -> None:
        self.accelerator.save_state(str(folder), safe_serialization=False)
        state = {name: item.state_dict() for name, item in self._per_process().items()}
        torch.save(state, folder / f"process_{self.accelerator.process_index}.pt")

    def _load(self, folder: Path) -> None:
        saved = len(list(folder.glob("process_*.pt")))
        if saved != self.accelerator.num_processes:
            raise InputError(
                f"Expected to resume with the {saved} processes that {folder} was saved by, got "
                f"{self.accelerator.num_processes}; start as many, or start a new run from this run's weights."
            )
        # Frozen parameters are not in the state: they are those of the start model.
        self.accelerator.load_state(str(folder), **({} if self.sharded else {"strict": False}))
        path = folder / f"process_{self.accelerator.process_index}.pt"
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, item in self._per_process().items():
            item.load_state_dict(state[name])

    def _per_process(self) -> dict[str, Any]:
        """State that differs between processes, which Accelerate does not save for each."""
        return {"ema": self.ema, "progress": self.progress, "batches": self.batches}

    def _report(self, publish: bool, validate: bool) -> None:
        """Validate and publish with the averaged weights in place; random generators are left as they were."""
        with self.ema.applied(), torch.random.fork_rng():
            _module(self.objective).eval()
            # Validation runs the network piece by piece on one process, which is impossible with sharded weights.
            if validate and self.validate is not None and self.accelerator.is_main_process and not self.sharded:
                report = self.validate()
                self.metrics = dict(report.metrics)
                self.logger.write(self.progress, {f"held_out.{k}": v for k, v in self.metrics.items()})
                self.logger.show(self.progress, report.images)
            if publish:
                self._publish()
        self.accelerator.wait_for_everyone()

    def _publish(self) -> None:
        """Hand over the weights: None where they are in the objective's own modules, else all of its tensors."""
        if self.publish is None:
            return
        state = self.accelerator.get_state_dict(self.wrapped) if self.sharded else None  # every process takes part
        if self.accelerator.is_main_process:
            self.publish(state)


BAR = "{desc} {percentage:3.0f}% {bar} {elapsed} {postfix}"


def freeze_untrained(objective: Objective) -> dict[str, nn.Parameter]:
    """Freeze every parameter that `trainable` does not name; returns the others by name."""
    parameters = dict(_module(objective).named_parameters())
    for name, parameter in parameters.items():
        parameter.requires_grad_(name.startswith(tuple(objective.trainable)))
    return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}


def _module(objective: Objective) -> nn.Module:
    return objective  # type: ignore[return-value]


def _parameter_groups(
    parameters: dict[str, nn.Parameter], weight_decay: float, rate_factors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Matrices and kernels decay; biases, norms and learned tokens do not. `factor` multiplies the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        decay = weight_decay if parameter.ndim > 1 and name.endswith("weight") else 0.0
        factor = next((value for prefix, value in rate_factors.items() if name.startswith(prefix)), 1.0)
        groups.setdefault((decay, factor), []).append(parameter)
    return [{"params": group, "weight_decay": d, "factor": f} for (d, f), group in groups.items()]


def _leave_out_frozen(changing: set[str]) -> Callable[[Iterable, list[dict], str], None]:
    """Frozen weights come from the start model and need not be saved with every state."""

    def hook(models: Iterable, weights: list[dict], folder: str) -> None:
        for state in weights:
            for name in [name for name in state if name.removeprefix("module.") not in changing]:
                del state[name]

    return hook
