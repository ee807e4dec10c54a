"""What the loop does beside stepping: metrics a step late, evaluation, checkpoints, curves."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from cellml.errors import UserError
from cellml.report.curves import plot_curves
from cellml.train import checkpoint as ckpt
from cellml.train.evaluate import add_metrics, divide
from cellml.train.evaluate import evaluate as evaluate_batches
from cellml.train.logs import METRICS_FILE, MetricsLog, read_metrics, truncate
from cellml.train.parallel import (
    DeviceMetrics,
    EvalFn,
    batch_examples,
    batch_rows,
    fetch_metrics,
    make_eval_step,
    shard_batch,
    unreplicate,
)
from cellml.train.prefetch import Prefetcher
from cellml.train.progress import Progress
from cellml.train.state import TrainState, eval_variables
from cellml.types import Batch, Task, Variables


class NonFiniteError(UserError):
    """A loss or gradient became NaN or infinite.

    Attributes:
      step: The step, counted from 1, whose loss it was.
      index: `batch["index"]` of the step's examples, empty if the batches have none.
    """

    def __init__(self, step: int, index: Sequence[int], metrics: Mapping[str, float]) -> None:
        """Makes the message."""
        self.step, self.index = step, list(index)
        bad = ", ".join(f"{k} {v}" for k, v in metrics.items() if not math.isfinite(v))
        ids = f"examples with index {self.index}" if self.index else "batch without index"
        super().__init__(f"step {step}: not finite: {bad}; {ids}")


@dataclass
class Recorder:
    """The run's bookkeeping; `fit` describes most fields.

    Attributes:
      evaluation_due: Whether the evaluation of the current step has not been done yet. It is
        saved, so that a run stopped between the two makes up for it.
      last_eval: Result of the evaluation at the current step.
    """

    task: Task
    steps: int
    seed: int
    workdir: Path
    devices: Sequence[jax.Device]
    config: dict[str, Any]
    evaluate: Callable[[], Iterable[Batch]] | None
    evaluate_host: Callable[[Variables], Mapping[str, float]] | None
    learning_rate: Callable[[int], Any] | None
    keep: int
    best: tuple[str, str] | None
    on_checkpoint: Callable[[TrainState], None] | None
    log_every: int
    curves: bool
    tensorboard: bool
    show_progress: bool
    evaluation_due: bool = False
    last_eval: dict[str, float] = field(default_factory=dict)
    _totals: dict[str, Any] = field(default_factory=dict)
    _pending: tuple[int, DeviceMetrics, Batch] | None = None
    _eval_step: EvalFn | None = None
    _rows: int = 0
    _plotted: int = 0

    def resume(
        self, template: TrainState, *, resume: bool, may_differ: frozenset[str]
    ) -> TrainState:
        """The state to begin from: that of the last checkpoint, or `template`.

        Raises:
          CheckpointMismatchError: The checkpoint is of another config, seed or model.
          ValueError: There are checkpoints and `resume` is False.
        """
        self.workdir.mkdir(parents=True, exist_ok=True)
        if not resume and ckpt.steps(self.workdir):
            raise ValueError(
                f"{self.workdir} holds checkpoints of steps {ckpt.steps(self.workdir)}; "
                "resume, or use another workdir"
            )
        ckpt.prune(self.workdir, keep=sys.maxsize)
        found = ckpt.load_latest(self.workdir, warn=_warn, set_aside=True)
        if found is None:
            return template
        ckpt.check_config(found, self.config, may_differ=may_differ)
        extra = found.meta["extra"]
        if extra["seed"] != self.seed:
            raise ckpt.CheckpointMismatchError(
                f"{found.path}: seed: expected {self.seed} (now), found {extra['seed']}"
            )
        self._totals = {name: (s, c) for name, (s, c) in extra["window"].items()}
        self._rows = extra["rows"]
        self.evaluation_due = extra["evaluation_due"]
        return ckpt.as_state(found, template)

    def open_at(self, step: int) -> "Recorder":
        """Opens the log and the display for a run that goes on from `step`."""
        path = self.workdir / "config.json"
        _write_text(
            path, json.dumps({"config": self.config, "versions": ckpt.versions()}, indent=2) + "\n"
        )
        if self.evaluation_due:
            truncate(self.workdir / METRICS_FILE, step, group="eval")
        self.log = MetricsLog(self.workdir, resume_step=step, tensorboard=self.tensorboard)
        self.progress = Progress(
            self.steps, start=step, title=self.task.name, enabled=self.show_progress
        )
        if step:
            self.progress.message(f"resuming {self.workdir} at step {step} of {self.steps}")
        return self

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.close()
        self.log.close()

    def shard(self, batch: Batch) -> dict[str, np.ndarray]:
        """Pads a batch to the longest so far and cuts it for the devices."""
        self._rows = max(self._rows, batch_rows(batch))
        return shard_batch(batch, len(self.devices), rows=self._rows)

    def collect(self, step: int, metrics: DeviceMetrics, batch: Batch) -> None:
        """Takes the metrics of a dispatched step and fetches those of the step before.

        Raises:
          NonFiniteError: Those of the step before are not finite.
        """
        previous, self._pending = self._pending, (step, metrics, batch)
        if previous is not None:
            self._fetch(*previous)

    def flush(self) -> None:
        """Fetches the metrics that are still under way; see `collect`."""
        previous, self._pending = self._pending, None
        if previous is not None:
            self._fetch(*previous)

    def _fetch(self, step: int, metrics: DeviceMetrics, batch: Batch) -> None:
        values = fetch_metrics(metrics, len(self.devices))
        if not values.pop("finite")[0]:
            means = divide(values)
            raise NonFiniteError(step, _rows(batch), means)
        add_metrics(self._totals, values)
        self.progress.advance(step, batch_examples(batch))
        if step % self.log_every == 0 or step == self.steps:
            record = divide(self._totals)
            if self.learning_rate is not None:
                record["learning_rate"] = float(self.learning_rate(step - 1))
            self.progress.record(step, "train", record)
            record["examples_per_s"] = self.progress.examples_per_s()
            self.log.write(step, "train", record)
            self._totals = {}

    def run_evaluation(self, state: PyTree, step: int) -> None:
        """Evaluates a replicated state and writes the result down."""
        self.evaluation_due = False
        self.last_eval = {}
        if self.evaluate is None and self.evaluate_host is None:
            return
        began_s = time.perf_counter()
        variables = eval_variables(unreplicate(state, len(self.devices)))
        if self.evaluate is not None:
            if self._eval_step is None:
                self._eval_step = make_eval_step(self.task, self.devices)
            with Prefetcher(iter(self.evaluate())) as batches:
                self.last_eval = evaluate_batches(
                    self.task, variables, batches, devices=self.devices, step=self._eval_step
                )
        if self.evaluate_host is not None:
            self.last_eval |= {k: float(v) for k, v in self.evaluate_host(variables).items()}
        self.log.write(step, "eval", self.last_eval)
        self.progress.record(step, "eval", self.last_eval)
        self.plot()
        self.progress.pause(time.perf_counter() - began_s)

    def save(self, state: PyTree) -> None:
        """Writes a checkpoint of a replicated state and deletes those not to be kept."""
        began_s = time.perf_counter()
        host: TrainState = unreplicate(state, len(self.devices))
        ckpt.save(
            self.workdir, host, config=self.config, metrics=self.last_eval, extra=self._extra(host)
        )
        ckpt.prune(self.workdir, keep=self.keep, best=self.best)
        if self.on_checkpoint is not None:
            self.on_checkpoint(host)
        self.progress.pause(time.perf_counter() - began_s)

    def catch_up(self, state: PyTree, step: int) -> None:
        """Does the evaluation that a stop came before, and adds it to the checkpoint."""
        self.run_evaluation(state, step)
        extra = self._extra(unreplicate(state, len(self.devices)))
        ckpt.amend(self.workdir, step, metrics=self.last_eval, extra=extra)

    def _extra(self, host: TrainState) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "data_position": int(host.step),
            "rows": self._rows,
            "window": self._totals,
            "evaluation_due": self.evaluation_due,
        }

    def plot(self) -> None:
        """Draws the curves of all records so far."""
        if not self.curves:
            return
        records = read_metrics(self.workdir / METRICS_FILE)
        if len(records) != self._plotted:
            self._plotted = len(records)
            plot_curves(records, self.workdir / "curves")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _rows(batch: Batch) -> list[int]:
    """Rows of the data that a batch has; -1 marks padding."""
    index = np.asarray(batch.get("index", ()), np.int64).ravel()
    return index[index >= 0].tolist()
