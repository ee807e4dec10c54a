"""Checkpoints: one folder per kept step, written by orbax, readable on any number of devices.

    <workdir>/checkpoints/<step>/state/   the unreplicated TrainState, by orbax
    <workdir>/checkpoints/<step>/meta/    JSON: step, config, versions, metrics, checksums

Orbax writes to a temporary folder and renames it, so a folder with a plain number is complete;
checksums of the leaves catch what a disk does afterwards.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cellml.errors import UserError
from cellml.train.leaves import crc32, describe, named_leaves, nest, walk
from cellml.train.state import TrainState

FOLDER = "checkpoints"


class CheckpointError(UserError):
    """A checkpoint cannot be read; the message says which and why."""


class CheckpointMismatchError(CheckpointError):
    """A readable checkpoint belongs to another model, optimiser or config."""


class Checkpoint(NamedTuple):
    """A checkpoint as read from disk.

    Attributes:
      leaves: Nested dictionaries of NumPy arrays, named like the fields of `TrainState`.
      meta: What was saved beside them: `step`, `config`, `versions`, `metrics`, `extra`.
      path: Its folder.
    """

    leaves: dict[str, Any]
    meta: dict[str, Any]
    path: Path


def versions() -> dict[str, str]:
    """Versions of what determines the numbers of a run."""
    from importlib import metadata

    found = {}
    for package in ("cellml", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def save(
    workdir: Path,
    state: TrainState,
    *,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Writes a checkpoint, atomically; one of the same step is replaced.

    Args:
      workdir: The run's folder.
      state: Unreplicated; its step names the checkpoint.
      config: Plain, JSON-serialisable.
      metrics: Evaluation results, by which `prune` knows the best.
      extra: Anything else that the loop needs to go on exactly (data position, open sums).

    Returns:
      The checkpoint's folder.
    """
    import orbax.checkpoint as ocp

    host: TrainState = jax.device_get(state)
    named = named_leaves(host)
    meta = {
        "step": int(host.step),
        "config": dict(config or {}),
        "versions": versions(),
        "metrics": dict(metrics or {}),
        "extra": dict(extra or {}),
        "crc32": {"/".join(parts): crc32(leaf) for parts, leaf in named},
    }
    path = (workdir / FOLDER / str(meta["step"])).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = ocp.args.Composite(
        state=ocp.args.PyTreeSave(nest(named)),
        meta=ocp.args.JsonSave(json.loads(json.dumps(meta))),
    )
    handler = ocp.CompositeCheckpointHandler("state", "meta")
    with _quiet(), ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(path, args=arguments, force=True)
    return path


def amend(
    workdir: Path, step: int, *, metrics: Mapping[str, float], extra: Mapping[str, Any]
) -> None:
    """Replaces what was saved beside the state of a checkpoint, atomically.

    Args:
      workdir: The run's folder.
      step: Of the checkpoint.
      metrics: The new metrics.
      extra: The new further values, JSON-able.
    """
    path = workdir / FOLDER / str(step)
    meta = _read_meta(path) | {"metrics": dict(metrics), "extra": dict(extra)}
    part = path / "meta" / "metadata.part"
    part.write_text(json.dumps(meta))
    part.replace(path / "meta" / "metadata")


def steps(workdir: Path) -> list[int]:
    """Steps of the complete checkpoints, ascending."""
    folder = workdir / FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.is_dir() and p.name.isdigit())


def prune(workdir: Path, *, keep: int, best: tuple[str, str] | None = None) -> None:
    """Deletes what half-written saves left and all but the last and the best checkpoints.

    Args:
      workdir: The run's folder.
      keep: How many of the last to keep, at least 1.
      best: Name of a metric and "max" or "min"; the best by it is kept too.
    """
    folder = workdir / FOLDER
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if ".orbax-checkpoint-tmp" in path.name:
            shutil.rmtree(path, ignore_errors=True)
    found = steps(workdir)
    kept = set(found[-keep:])
    top = best_step(workdir, *best) if best else None
    if top is not None:
        kept.add(top)
    for step in found:
        if step not in kept:
            shutil.rmtree(folder / str(step), ignore_errors=True)


def best_step(workdir: Path, metric: str, mode: str = "max") -> int | None:
    """Finds the best of the kept checkpoints.

    Args:
      workdir: The run's folder.
      metric: Name of an evaluation metric.
      mode: "max" or "min".

    Returns:
      Its step, the later of equals; None where no checkpoint has the metric.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"mode {mode!r}, expected 'max' or 'min'")
    sign = 1.0 if mode == "max" else -1.0
    scored = []
    for step in steps(workdir):
        try:
            value = _read_meta(workdir / FOLDER / str(step))["metrics"].get(metric)
        except CheckpointError:
            continue
        if value is not None and np.isfinite(value):
            scored.append((sign * value, step))
    return max(scored)[1] if scored else None


def load(workdir: Path, step: int) -> Checkpoint:
    """Reads one checkpoint.

    Raises:
      CheckpointError: It is missing, incomplete or damaged.
    """
    import orbax.checkpoint as ocp

    path = (workdir / FOLDER / str(step)).absolute()
    meta = _read_meta(path)
    try:
        with (
            _quiet(),
            ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer,
        ):
            structure = checkpointer.metadata(path / "state").item_metadata.tree
            numpy_args = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure)
            leaves = checkpointer.restore(
                path / "state", args=ocp.args.PyTreeRestore(restore_args=numpy_args)
            )
    except Exception as error:  # Whatever a damaged file makes orbax and tensorstore raise.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise CheckpointError(f"{path}: unreadable ({type(error).__name__}: {reason})") from error
    flat = {"/".join(parts): leaf for parts, leaf in walk(leaves)}
    for name, expected in meta["crc32"].items():
        if name not in flat:
            raise CheckpointError(f"{path}: {name} is missing")
        if crc32(flat[name]) != expected:
            raise CheckpointError(f"{path}: {name} is damaged (checksum differs)")
    return Checkpoint(leaves, meta, path)


def load_latest(
    workdir: Path, *, warn: Callable[[str], None], set_aside: bool = False
) -> Checkpoint | None:
    """Reads the last readable checkpoint, or None where none was ever written.

    Args:
      workdir: The run's folder.
      warn: Gets one line for each damaged checkpoint that is passed over.
      set_aside: Rename damaged ones to `<step>.damaged`, for a run that is about to go on: it
        would count them among its last and delete better ones instead.

    Returns:
      The checkpoint.

    Raises:
      CheckpointError: There are checkpoints and not one is readable.
    """
    found, damaged = steps(workdir), []
    for step in reversed(found):
        try:
            checkpoint = load(workdir, step)
        except CheckpointError as error:
            warn(f"skipping damaged checkpoint {error}")
            damaged.append(step)
            continue
        for bad in damaged if set_aside else ():
            aside = workdir / FOLDER / f"{bad}.damaged"
            shutil.rmtree(aside, ignore_errors=True)
            (workdir / FOLDER / str(bad)).rename(aside)
        return checkpoint
    if found:
        raise CheckpointError(
            f"{workdir / FOLDER}: none of the checkpoints {found} is readable; "
            "remove the folder to start anew"
        )
    return None


def restore(workdir: str | Path, *, step: int | None = None) -> tuple[TrainState, dict, int]:
    """Reads a checkpoint without knowing its model.

    Args:
      workdir: The run's folder.
      step: Which one, the last readable by default.

    Returns:
      The unreplicated state (NumPy leaves; `opt_state` as nested dictionaries, fit for looking
      at only), the config, and the step.

    Raises:
      CheckpointError: There is none, or it is damaged.
    """
    workdir = Path(workdir)
    if step is None:
        checkpoint = load_latest(workdir, warn=lambda line: warnings.warn(line, stacklevel=3))
        if checkpoint is None:
            raise CheckpointError(f"{workdir / FOLDER}: no checkpoint")
    else:
        checkpoint = load(workdir, step)
    leaves = checkpoint.leaves
    state = TrainState(
        step=leaves["step"],
        params=leaves["params"],
        model_state=leaves.get("model_state", {}),
        opt_state=leaves.get("opt_state", {}),
        ema_params=leaves.get("ema_params"),
    )
    return state, checkpoint.meta["config"], int(checkpoint.meta["step"])


def as_state(checkpoint: Checkpoint, template: TrainState) -> TrainState:
    """Gives a checkpoint the tree of `template`, checking every leaf.

    Raises:
      CheckpointMismatchError: Leaves are missing, left over, or of another shape or dtype; the
        message names the first, what was expected and what was found.
    """
    found = {"/".join(parts): leaf for parts, leaf in walk(checkpoint.leaves)}
    named = named_leaves(template)
    leaves = []
    for parts, expected in named:
        name = "/".join(parts)
        if name not in found:
            raise CheckpointMismatchError(
                f"{checkpoint.path}: leaf {name}: expected {describe(expected)}, found nothing"
            )
        leaf = found.pop(name)
        if describe(leaf) != describe(expected):
            raise CheckpointMismatchError(
                f"{checkpoint.path}: leaf {name}: expected {describe(expected)}, "
                f"found {describe(leaf)}"
            )
        leaves.append(leaf)
    if found:
        name, leaf = next(iter(found.items()))
        raise CheckpointMismatchError(
            f"{checkpoint.path}: leaf {name}: expected nothing, found {describe(leaf)}"
        )
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def check_config(
    checkpoint: Checkpoint, config: Mapping[str, Any], *, may_differ: frozenset[str] = frozenset()
) -> None:
    """Checks that a run goes on under the config that it began with.

    Args:
      checkpoint: From `load`.
      config: The config now, plain.
      may_differ: Dotted names of entries that may have changed, with all below them.

    Raises:
      CheckpointMismatchError: An entry differs; the message names it, the expected, the found.
    """
    saved = dict(_flat_config(checkpoint.meta["config"]))
    now = dict(_flat_config(json.loads(json.dumps(dict(config)))))
    for name in sorted(saved.keys() | now.keys()):
        parts = name.split(".")
        if any(".".join(parts[: i + 1]) in may_differ for i in range(len(parts))):
            continue
        expected, found = now.get(name, "nothing"), saved.get(name, "nothing")
        if expected != found:
            raise CheckpointMismatchError(
                f"{checkpoint.path}: config entry {name}: expected {expected!r} (config now), "
                f"found {found!r} (checkpoint); use another workdir"
            )


def check_workdir(
    workdir: Path, config: Mapping[str, Any], *, may_differ: frozenset[str] = frozenset()
) -> None:
    """As `check_config`, of the last checkpoint of a folder whose metadata can be read, if any.

    Args:
      workdir: The run's folder; nothing in it is changed.
      config: The config now, plain.
      may_differ: As of `check_config`.

    Raises:
      CheckpointMismatchError: An entry differs.
    """
    for step in reversed(steps(workdir)):
        path = workdir / FOLDER / str(step)
        try:
            meta = _read_meta(path)
        except CheckpointError:
            continue
        return check_config(Checkpoint({}, meta, path), config, may_differ=may_differ)


def _read_meta(path: Path) -> dict[str, Any]:
    # Read directly, because choosing the best of many should not need orbax for each.
    try:
        return json.loads((path / "meta" / "metadata").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no readable metadata ({error})") from error


def _flat_config(config: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(config, Mapping) and (config or not prefix):
        return [
            pair
            for key, value in config.items()
            for pair in _flat_config(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, config)]


class _quiet:
    """Silences orbax and absl below errors; they log dozens of lines per save."""

    def __enter__(self) -> None:
        self._loggers = [logging.getLogger(n) for n in ("absl", "orbax")]
        self._levels = [logger.level for logger in self._loggers]
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
