"""The training loop: steps, logs, evaluation, checkpoints, and going on after a stop."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from cellml.train.config import Config
from cellml.train.parallel import make_train_step, replicate, unreplicate
from cellml.train.prefetch import Prefetcher
from cellml.train.recorder import NonFiniteError, Recorder
from cellml.train.signals import StopSignals, TrainingInterrupted
from cellml.train.state import TrainState, create_state
from cellml.types import Batch, Task, Variables

__all__ = ["NonFiniteError", "TrainingInterrupted", "fit", "plain_config"]


def fit(
    task: Task,
    tx: optax.GradientTransformation,
    batches: Callable[[int], Iterator[Batch]],
    *,
    steps: int,
    seed: int,
    workdir: str | Path,
    init_batch: Batch,
    evaluate: Callable[[], Iterable[Batch]] | None = None,
    evaluate_host: Callable[[Variables], Mapping[str, float]] | None = None,
    eval_every: int = 0,
    checkpoint_every: int = 0,
    log_every: int = 10,
    ema_decay: float = 0.0,
    devices: Sequence[jax.Device] | None = None,
    config: Config | None = None,
    resume: bool = True,
    may_differ: Iterable[str] = (),
    variables: Variables | None = None,
    learning_rate: Callable[[int], Any] | None = None,
    keep: int = 2,
    best: tuple[str, str] | None = None,
    on_checkpoint: Callable[[TrainState], None] | None = None,
    prefetch: int = 2,
    progress: bool = True,
    tensorboard: bool = True,
    curves: bool = True,
) -> TrainState:
    """Trains a task, or goes on training it.

    Everything is written below `workdir`: `config.json`, `metrics.jsonl`, `tensorboard/`,
    `curves.png` and `.svg`, `checkpoints/`. Called again with the same arguments after a kill, it
    goes on from the last checkpoint and reaches, on one kind of machine, the same bits.

    Args:
      task: Model, losses and metrics as pure functions.
      tx: The optimiser, e.g. from `optim.make_optimizer`.
      batches: Gives host batches from a step (counted from 0) on. For an exact resume the batch
        of a step must depend on the step alone.
      steps: Optimiser steps of the whole run.
      seed: Of the initial parameters and of the randomness of each step.
      workdir: The run's folder, made if need be.
      init_batch: An example batch, gives shapes to `task.init`.
      evaluate: Called at each evaluation, gives all its host batches.
      evaluate_host: Further metrics by name, from the unreplicated variables.
      eval_every: Steps between evaluations, 0 for one at the end only.
      checkpoint_every: Steps between checkpoints, 0 for one at the end only.
      log_every: Steps that one training record averages over.
      ema_decay: Above 0, an average of the parameters is kept and evaluated, see `train_step`.
      devices: All local devices by default.
      config: Plain values, saved beside the run and compared on resume.
      resume: Whether to go on from a checkpoint in `workdir`.
      may_differ: Dotted names of config entries that may change between resumes.
      variables: Start from these parameters instead of `task.init` (fine-tuning).
      learning_rate: The schedule, if it is to be logged.
      keep: How many of the last checkpoints are kept.
      best: Name of an evaluation metric and "max" or "min": the best checkpoint is kept too.
      on_checkpoint: Called with the unreplicated state after each checkpoint, on host arrays.
      prefetch: Batches made ahead in a thread, 0 for none.
      progress: Whether to show a bar (or lines).
      tensorboard: Whether to write event files.
      curves: Whether to plot the curves at evaluations and at the end.

    Returns:
      The last state, unreplicated, on the host.

    Raises:
      NonFiniteError: A loss or gradient is NaN or infinite.
      TrainingInterrupted: SIGINT or SIGTERM came; a checkpoint was written.
      CheckpointMismatchError: The checkpoint in `workdir` is of another config, seed or model.
      ValueError: `batches` ended early, or `workdir` is in use and `resume` is False.
      NotImplementedError: The process is one of several (jax.distributed).
    """
    for name, value in {"steps": steps, "log_every": log_every, "keep": keep}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}, expected at least 1")
    if jax.process_count() > 1:  # each would train a copy of its own, silently
        raise NotImplementedError(
            f"fit runs in one process on the devices of one machine, found a group of "
            f"{jax.process_count()} processes"
        )
    recorder = Recorder(
        task=task,
        steps=steps,
        seed=seed,
        workdir=Path(workdir),
        devices=tuple(jax.local_devices() if devices is None else devices),
        config=plain_config(config),
        evaluate=evaluate,
        evaluate_host=evaluate_host,
        learning_rate=learning_rate,
        keep=keep,
        best=best,
        on_checkpoint=on_checkpoint,
        log_every=log_every,
        curves=curves,
        tensorboard=tensorboard,
        show_progress=progress,
    )
    init_key, step_key = jax.random.split(jax.random.key(seed))
    state = create_state(init_key, task, tx, init_batch, ema=ema_decay > 0, variables=variables)
    state = recorder.resume(state, resume=resume, may_differ=frozenset(may_differ))
    start = int(state.step)
    state = replicate(state, recorder.devices)
    with recorder.open_at(start), StopSignals() as stop:
        if recorder.evaluation_due:
            recorder.catch_up(state, start)
        if start < steps:
            train = make_train_step(task, tx, recorder.devices, ema_decay=ema_decay)
            stream = batches(start)
            with Prefetcher(stream, depth=prefetch) if prefetch else _Plain(stream) as ready:
                for step in range(start, steps):
                    batch = next(ready, None)
                    if batch is None:
                        raise ValueError(f"the batches ended at step {step} of {steps}")
                    key = jax.random.fold_in(step_key, step)
                    state, metrics = train(state, recorder.shard(batch), key)
                    recorder.collect(step + 1, metrics, batch)
                    _after_step(recorder, state, step + 1, eval_every, checkpoint_every, stop)
        recorder.plot()
    return unreplicate(state, len(recorder.devices))


def _after_step(
    recorder: Recorder,
    state: Any,
    done: int,
    eval_every: int,
    checkpoint_every: int,
    stop: StopSignals,
) -> None:
    """Evaluates, saves and stops where it is time to."""
    evaluation_due = _due(done, eval_every, recorder.steps)
    checkpoint_due = _due(done, checkpoint_every, recorder.steps)
    if not (evaluation_due or checkpoint_due or stop.received is not None):
        return
    recorder.flush()
    recorder.evaluation_due = evaluation_due
    recorder.last_eval = {}
    if evaluation_due and stop.received is None:
        recorder.run_evaluation(state, done)
    signum = stop.received  # Read here, so that one that came during the evaluation counts.
    if checkpoint_due or signum is not None:
        recorder.save(state)
    if signum is not None:
        raise TrainingInterrupted(done, signum)


def plain_config(config: Config | None) -> dict[str, Any]:
    """A config as JSON would give it back: dictionaries, lists, numbers, strings."""
    to_dict = getattr(config, "to_dict", None)
    plain = to_dict() if to_dict is not None else dict(config or {})
    return json.loads(json.dumps(plain, default=str))


def _due(step: int, every: int, steps: int) -> bool:
    return step == steps or (every > 0 and step % every == 0)


class _Plain:
    """Batches without a thread, with the interface of `Prefetcher`."""

    def __init__(self, iterator: Iterator[Batch]) -> None:
        self._iterator = iterator

    def __enter__(self) -> Iterator[Batch]:
        return self._iterator

    def __exit__(self, *_: object) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()
