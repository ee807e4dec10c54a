"""The state that a training step turns into the next one."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

from cellml.types import Batch, Key, ModelState, Task, Variables


class TrainState(NamedTuple):
    """Everything that changes from step to step, a pytree.

    Attributes:
      step: Number of optimiser steps taken.
      params: The trained parameters.
      model_state: The other Flax collections (`batch_stats` and the like), often empty.
      opt_state: State of the optax transformation.
      ema_params: Exponential moving average of `params`, None where none is kept.
    """

    step: Int[Array | np.ndarray, ""]
    params: PyTree
    model_state: ModelState
    opt_state: PyTree
    ema_params: PyTree | None = None


def create_state(
    key: Key,
    task: Task,
    tx: optax.GradientTransformation,
    batch: Batch,
    *,
    ema: bool = False,
    variables: Variables | None = None,
) -> TrainState:
    """Initialises the state of step 0.

    Args:
      key: Randomness of the initial parameters.
      task: What is trained.
      tx: The optimiser.
      batch: An example batch, which gives the shapes.
      ema: Whether a moving average of the parameters is kept.
      variables: Start from these instead of calling `task.init` (fine-tuning).

    Returns:
      The state on the default device.
    """
    start = jax.jit(task.init)(key, dict(batch)) if variables is None else variables
    # A copy, because a step gives the buffers of its state away (donation).
    params = jax.tree.map(jnp.array, start["params"])
    model_state = {
        name: jax.tree.map(jnp.array, tree) for name, tree in start.items() if name != "params"
    }
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state=model_state,
        opt_state=jax.jit(tx.init)(params),
        ema_params=jax.tree.map(jnp.array, params) if ema else None,
    )


def eval_variables(state: TrainState) -> Variables:
    """The variables to evaluate and to ship: averaged parameters where they are kept."""
    params = state.params if state.ema_params is None else state.ema_params
    return {"params": params, **state.model_state}
