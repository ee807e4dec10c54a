"""Training in stages: each with its own learning rate and its own set of trained parameters."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree

Chooser = Callable[[str], bool]
"""Path of a parameter, such as `"backbone/stage4/kernel"`, to whether it is trained."""


class StagedState(NamedTuple):
    """Steps taken, and the state of the inner optimiser."""

    count: Int[Array, ""]
    inner: PyTree


def staged(
    tx: optax.GradientTransformation,
    *,
    boundaries: Sequence[int],
    rates: Sequence[float],
    trained: Sequence[Chooser],
) -> optax.GradientTransformation:
    """Runs an optimiser stage by stage; it starts anew at each, as a new call of Keras' fit does.

    Args:
      tx: Built for a learning rate of 1 without a schedule.
      boundaries: First step of every stage but the first, ascending.
      rates: Learning rate of every stage.
      trained: For every stage, which parameters move; the others keep their values to the bit.

    Returns:
      The optax transformation.

    Raises:
      ValueError: The numbers of stages differ, or the boundaries do not ascend.
    """
    if not len(rates) == len(trained) == len(boundaries) + 1:
        raise ValueError(
            f"stages: {len(rates)} rates, {len(trained)} trainable sets and {len(boundaries)} "
            "boundaries; expected n, n and n - 1"
        )
    if list(boundaries) != sorted(set(boundaries)):
        raise ValueError(f"stages: boundaries {list(boundaries)} must ascend")
    starts = np.asarray(boundaries, np.int32)
    rate_of = np.asarray(rates, np.float32)

    def moves(tree: PyTree, stage: Array, factor: Array) -> PyTree:
        def one(path: tuple[Any, ...], leaf: Array) -> Array:
            name = "/".join(str(getattr(entry, "key", entry)) for entry in path)
            table = np.asarray([chooser(name) for chooser in trained])
            return jnp.where(jnp.asarray(table)[stage], leaf * factor.astype(leaf.dtype), 0)

        return jax.tree_util.tree_map_with_path(one, tree)

    def init(params: PyTree) -> StagedState:
        return StagedState(jnp.zeros((), jnp.int32), tx.init(params))

    def update(
        grads: PyTree, state: StagedState, params: PyTree | None = None
    ) -> tuple[PyTree, StagedState]:
        if params is None:
            raise ValueError("stages: the parameters are needed")
        stage = jnp.sum(state.count >= jnp.asarray(starts)).astype(jnp.int32)
        starting = jnp.any(state.count == jnp.asarray(starts))
        inner = jax.tree.map(
            lambda new, old: jnp.where(starting, new, old), tx.init(params), state.inner
        )
        # zero gradients as well: frozen parameters must not count in the norm that is clipped
        updates, inner = tx.update(moves(grads, stage, jnp.ones(())), inner, params)
        updates = moves(updates, stage, jnp.asarray(rate_of)[stage])
        return updates, StagedState(state.count + 1, inner)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]
