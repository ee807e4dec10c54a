"""Ensembles: several networks of one kind that train at once, on the same batches.

Every array of an ensemble's variables has a leading axis of members. Accelerators run the members
side by side (`vmap`); on a CPU, whose batched products and scatters take twice the time of single
ones, they take turns within one program, with the same results.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from cellml.types import Batch, Key, Loss, ModelState, Task, Variables


def over_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """Maps a function over the leading axis of its arguments: the members of an ensemble."""
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *arguments: jax.lax.map(lambda some: function(*some), arguments)


def ensemble_task(task: Task, members: int) -> Task:
    """A task that trains several networks at once on the same batches.

    They differ in their initial weights and in what is dropped. Every member learns as if it were
    alone (with a clipped gradient, nearly: the norm is that of all): losses are added over members,
    not averaged, so the recorded training loss is that of all together; metrics are averaged.

    Args:
      task: Of one network.
      members: How many.

    Returns:
      A task whose variables have a leading axis of members.
    """

    def init(key: Key, batch: Batch) -> Variables:
        return jax.vmap(lambda k: task.init(k, batch))(jax.random.split(key, members))

    def losses(
        variables: Variables, batch: Batch, key: Key, train: bool
    ) -> tuple[dict[str, Loss], ModelState]:
        keys = jax.random.split(key, members)
        rest = {name: tree for name, tree in variables.items() if name != "params"}

        def of_member(params: PyTree, rest: PyTree, key: Key) -> tuple[dict[str, Loss], ModelState]:
            return task.losses({"params": params, **rest}, batch, key, train)

        if jax.default_backend() == "cpu":
            found, state = _in_turn(of_member, variables["params"], rest, keys)
        else:
            found, state = jax.vmap(of_member)(variables["params"], rest, keys)
        # The count of one member divides the sum over all: the gradient of each is its own.
        return {name: (jnp.sum(s), jnp.mean(c)) for name, (s, c) in found.items()}, state

    def metrics(variables: Variables, batch: Batch) -> dict[str, Loss]:
        found = over_members(lambda v: task.metrics(v, batch))(variables)
        return {name: (jnp.mean(s, axis=0), jnp.mean(c, axis=0)) for name, (s, c) in found.items()}

    return task._replace(init=init, losses=losses, metrics=metrics)


def _in_turn(
    loss_of: Callable[..., tuple[dict[str, Loss], ModelState]],
    params: PyTree,
    rest: PyTree,
    keys: Array,
) -> tuple[dict[str, tuple[Float[Array, " m"], Float[Array, " m"]]], ModelState]:
    """`lax.map` of `loss_of` with the gradient taken member by member.

    The gradient of a `lax.map` keeps what every member computed until the last one is done; here a
    member goes forward and back before the next begins, and its activations stay in the cache.

    Args:
      loss_of: (params, rest, key) of one member to its losses and state.
      params: Of all members; the only argument that has a gradient.
      rest: Other variables of all members.
      keys: One a member.

    Returns:
      Losses and state, with a leading axis of members.
    """

    def split(params: PyTree, rest: PyTree, key: Key) -> tuple[dict[str, Array], Any]:
        losses, state = loss_of(params, rest, key)
        sums = {name: loss_sum for name, (loss_sum, _) in losses.items()}
        return sums, ({name: count for name, (_, count) in losses.items()}, state)

    @jax.custom_vjp
    def run(params: PyTree, rest: PyTree, keys: Array) -> Any:
        return jax.lax.map(lambda some: split(*some), (params, rest, keys))

    def forward(params: PyTree, rest: PyTree, keys: Array) -> Any:
        def one(some: Any) -> Any:
            params, rest, key = some
            sums, pull, others = jax.vjp(lambda p: split(p, rest, key), params, has_aux=True)
            gradients = {
                name: pull({other: _unit(s, other == name) for other, s in sums.items()})[0]
                for name in sums
            }
            return (sums, others), gradients

        return jax.lax.map(one, (params, rest, keys))

    def backward(gradients: dict[str, PyTree], cotangents: Any) -> tuple[PyTree, None, None]:
        (factors, _) = cotangents

        def scaled(name: str) -> PyTree:
            def scale(g: Array) -> Array:
                return g * factors[name].reshape((-1,) + (1,) * (g.ndim - 1)).astype(g.dtype)

            return jax.tree.map(scale, gradients[name])

        parts = [scaled(name) for name in gradients]
        return jax.tree.map(lambda *g: sum(g[1:], g[0]), *parts), None, None

    run.defvjp(forward, backward)
    sums, (counts, state) = run(params, rest, keys)
    return {name: (sums[name], counts[name]) for name in sums}, state


def _unit(like: Array, one: bool) -> Array:
    return jnp.ones_like(like) if one else jnp.zeros_like(like)
