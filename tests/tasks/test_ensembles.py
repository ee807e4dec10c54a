"""Ensembles: gradients taken member by member equal those of vmap; several losses; state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.tasks import ensembles
from cellml.tasks.ensembles import ensemble_task
from cellml.types import Task

BATCH = {"x": np.linspace(-1, 2, 12, dtype=np.float32).reshape(4, 3)}
WEIGHTS = {"square": 1.0, "cube": -0.3}


def small_task() -> Task:
    """Two losses with different counts, and a state that each member keeps for itself."""

    def init(key, batch):
        w = jax.random.normal(key, (3,))
        return {"params": {"w": w, "b": w[:1]}, "batch_stats": {"mean": w * 0.5}}

    def losses(variables, batch, key, train):
        params, mean = variables["params"], variables["batch_stats"]["mean"]
        x = jnp.asarray(batch["x"]) - mean[None]
        y = x @ params["w"] + params["b"][0] + jax.random.normal(key, (4,))
        found = {
            "square": (jnp.sum(y**2), jnp.float32(4)),
            "cube": (jnp.sum(y[:2] ** 3), jnp.float32(2)),
        }
        return found, {"batch_stats": {"mean": mean + jnp.mean(x, axis=0)}}

    def metrics(variables, batch):
        return losses(variables, batch, jax.random.key(0), False)[0]

    return Task("small", init, losses, WEIGHTS, metrics)


def total_and_gradients(task: Task, variables):
    def total(params):
        found, state = task.losses({**variables, "params": params}, BATCH, jax.random.key(3), True)
        return sum(WEIGHTS[name] * s / c for name, (s, c) in found.items()), (found, state)

    return jax.jit(jax.value_and_grad(total, has_aux=True))(variables["params"])


def test_in_turn_equals_side_by_side(monkeypatch) -> None:
    task = ensemble_task(small_task(), 3)
    variables = jax.jit(task.init)(jax.random.key(1), BATCH)
    in_turn = total_and_gradients(task, variables)
    monkeypatch.setattr(ensembles.jax, "default_backend", lambda: "gpu")
    beside = total_and_gradients(ensemble_task(small_task(), 3), variables)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), in_turn, beside)
    (_, (_, state)), gradients = in_turn
    assert state["batch_stats"]["mean"].shape == (3, 3)
    assert float(jnp.abs(gradients["w"]).min()) > 0
    assert gradients["b"].shape == (3, 1)


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_every_loss_has_its_own_gradient(name: str) -> None:
    task = ensemble_task(small_task(), 2)
    variables = jax.jit(task.init)(jax.random.key(1), BATCH)

    def one(params):
        found, _ = task.losses({**variables, "params": params}, BATCH, jax.random.key(3), True)
        return found[name][0]

    gradient = jax.jit(jax.grad(one))(variables["params"])["w"][1, 0]
    eps = 1e-2
    moved = [
        one({**variables["params"], "w": variables["params"]["w"].at[1, 0].add(d)})
        for d in (eps, -eps)
    ]
    np.testing.assert_allclose(gradient, (moved[0] - moved[1]) / (2 * eps), rtol=2e-2)
