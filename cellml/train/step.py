"""The pure training and evaluation step.

Losses and metrics are `(sum, count)`. Counts are added over devices before the division, sums
(hence gradients) after it, so that padding and uneven shards change nothing: the mean of the
devices' means would.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from cellml.train.state import TrainState
from cellml.types import Batch, Key, Loss, ModelState, Task, Variables


def train_step(
    task: Task,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    key: Key,
    *,
    axis_name: str | None = None,
    ema_decay: float = 0.0,
) -> tuple[TrainState, dict[str, Loss]]:
    """Takes one optimiser step.

    Args:
      task: Losses and their weights.
      tx: The optimiser; clipping, decay and schedule are part of it.
      state: The same on every device.
      batch: This device's share; rows whose `valid` is False must not count in `task.losses`.
      key: Randomness of this device and step.
      axis_name: The mapped axis to reduce over, None on one device.
      ema_decay: Decay of the average of the parameters, within [0, 1). Early on it is
        min(ema_decay, (1 + step) / (10 + step)), so that the start is forgotten soon.

    Returns:
      The new state, and metrics as `(sum, count)` already added over the devices:
      `"loss"` (the weighted total), each loss by name, `"grad_norm"` (before clipping) and
      `"finite"` (1 where loss and gradient norm are finite, else 0), the last two and the
      total with count 1.

    Raises:
      ValueError: `task.weights` and the losses have different names (at trace time).
    """

    def weighted(params: PyTree) -> tuple[Array, tuple[dict[str, Loss], ModelState]]:
        losses, model_state = task.losses({"params": params, **state.model_state}, batch, key, True)
        _check_names(task, losses)
        counts = {
            name: _psum(jax.lax.stop_gradient(_f32(count)), axis_name)
            for name, (_, count) in losses.items()
        }
        share = _total({n: (_f32(s), counts[n]) for n, (s, _) in losses.items()}, task.weights)
        sums = {n: (_f32(s), counts[n]) for n, (s, _) in losses.items()}
        return share, (sums, model_state)

    # Marked as device-varying, the gradient below is this device's alone and is added up here,
    # once; shard_map would otherwise add it up implicitly and pmap would not.
    params = _varying(state.params, axis_name)
    (_, (shares, model_state)), grads = jax.value_and_grad(weighted, has_aux=True)(params)
    grads = _psum(grads, axis_name)
    losses = {name: (_psum(s, axis_name), count) for name, (s, count) in shares.items()}
    model_state = _reduce_state(task.reduce_state, model_state, batch, axis_name)

    # optax mixes integers and floats itself; the strictness of our tests is for our own code.
    with jax.numpy_dtype_promotion("standard"):
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        new_params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_params is not None:
        ema_params = _ema(ema_params, new_params, state.step, ema_decay)

    total = _total(losses, task.weights)
    grad_norm = _f32(optax.tree.norm(grads))
    one = jnp.ones((), jnp.float32)
    metrics = {
        "loss": (total, one),
        **losses,
        "grad_norm": (grad_norm, one),
        "finite": (_f32(jnp.isfinite(total) & jnp.isfinite(grad_norm)), one),
    }
    return TrainState(state.step + 1, new_params, model_state, opt_state, ema_params), metrics


def eval_step(
    task: Task, variables: Variables, batch: Batch, *, axis_name: str | None = None
) -> dict[str, Loss]:
    """Computes `task.metrics` and adds them over the devices.

    Args:
      task: What is evaluated.
      variables: The same on every device.
      batch: This device's share.
      axis_name: The mapped axis to reduce over, None on one device.

    Returns:
      `{name: (sum, count)}`, not yet divided, so that batches can be added up.
    """
    metrics = task.metrics(variables, batch)
    return {
        name: (_psum(_f32(s), axis_name), _psum(_f32(c), axis_name))
        for name, (s, c) in metrics.items()
    }


def _total(losses: Mapping[str, Loss], weights: Mapping[str, float]) -> Float[Array, ""]:
    """sum_i weights[i] * sum_i / count_i, where an empty loss is 0 and has no gradient."""
    total = jnp.zeros((), jnp.float32)
    for name, (loss_sum, count) in losses.items():
        # Both branches are made safe: a NaN in the branch not taken would reach the gradient.
        mean = jnp.where(count > 0, loss_sum, 0.0) / jnp.where(count > 0, count, 1.0)
        total = total + weights[name] * mean
    return total


def _check_names(task: Task, losses: Mapping[str, Any]) -> None:
    if set(losses) != set(task.weights):
        raise ValueError(
            f"task {task.name!r}: losses {sorted(losses)} but weights {sorted(task.weights)}"
        )
    reserved = {"loss", "grad_norm", "finite"} & set(losses)
    if reserved:
        raise ValueError(f"task {task.name!r}: loss names {sorted(reserved)} are reserved")


def _reduce_state(
    how: str, model_state: ModelState, batch: Batch, axis_name: str | None
) -> ModelState:
    """Merges the devices' model states, weighted by their numbers of valid rows."""
    if how not in STATE_REDUCTIONS:
        raise ValueError(f"reduce_state {how!r}, expected one of {list(STATE_REDUCTIONS)}")
    if axis_name is None or not jax.tree.leaves(model_state):
        return model_state
    return STATE_REDUCTIONS[how](model_state, batch, axis_name)


def _valid_mean(model_state: ModelState, batch: Batch, axis_name: str) -> ModelState:
    rows = next(iter(batch.values())).shape[0]
    valid = batch.get("valid")
    weight = jnp.float32(rows) if valid is None else _f32(jnp.sum(valid))
    share = weight / jnp.maximum(_psum(weight, axis_name), 1.0)

    def mean(leaf: Array) -> Array:
        return _psum(leaf.astype(jnp.float32) * share, axis_name).astype(leaf.dtype)

    return jax.tree.map(mean, model_state)


def _first(model_state: ModelState, batch: Batch, axis_name: str) -> ModelState:
    del batch
    is_first = jax.lax.axis_index(axis_name) == 0
    # A sum with one term, because it is known to be equal on all devices, unlike a gather.
    return jax.tree.map(
        lambda leaf: _psum(jnp.where(is_first, leaf, jnp.zeros_like(leaf)), axis_name), model_state
    )


STATE_REDUCTIONS = {"mean": _valid_mean, "first": _first}
"""Ways of merging the model states of several devices, `Task.reduce_state`."""


def _ema(ema: PyTree, params: PyTree, step: Any, decay: float) -> PyTree:
    count = _f32(step)
    decay_now = jnp.minimum(jnp.float32(decay), (1.0 + count) / (10.0 + count))
    return jax.tree.map(
        lambda old, new: old + (new - old) * (1.0 - decay_now).astype(old.dtype), ema, params
    )


def _varying(tree: PyTree, axis_name: str | None) -> PyTree:
    if axis_name is None:
        return tree
    return jax.tree.map(lambda leaf: jax.lax.pcast(leaf, axis_name, to="varying"), tree)


def _psum(tree: PyTree, axis_name: str | None) -> PyTree:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _f32(x: Any) -> Array:
    return jnp.asarray(x).astype(jnp.float32)
