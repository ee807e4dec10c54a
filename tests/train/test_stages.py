"""Training in stages: rates, frozen parameters, a fresh optimiser at every stage."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cellml.train.optim import clip_each, decay_by_size, make_optimizer
from cellml.train.stages import staged

PARAMS = {"body": {"kernel": jnp.asarray([1.0, -2.0])}, "head": {"kernel": jnp.asarray([3.0])}}


def _run(tx: optax.GradientTransformation, steps: int) -> list[dict]:
    params, state, seen = PARAMS, tx.init(PARAMS), []
    for step in range(steps):
        grads = jax.tree.map(lambda leaf, f=step + 1.0: jnp.full_like(leaf, f), params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = jax.jit(tx.update)(grads, state, params)
            params = optax.apply_updates(params, updates)
        seen.append(jax.tree.map(np.asarray, params))
    return seen


def _staged(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    return staged(
        tx,
        boundaries=[2, 4],
        rates=[0.1, 0.05, 0.01],
        trained=[lambda p: True, lambda p: p.startswith("head/"), lambda p: "body" in p],
    )


def test_each_stage_has_its_rate_and_its_parameters() -> None:
    seen = _run(_staged(optax.sgd(1.0)), 6)
    body = [1.0, *(s["body"]["kernel"][0] for s in seen)]
    head = [3.0, *(s["head"]["kernel"][0] for s in seen)]
    np.testing.assert_allclose(np.diff(body), [-0.1, -0.2, 0, 0, -0.05, -0.06], rtol=1e-5)
    np.testing.assert_allclose(np.diff(head), [-0.1, -0.2, -0.15, -0.2, 0, 0], rtol=1e-5, atol=1e-7)
    assert body[3] == body[2]  # to the bit


def test_the_optimiser_starts_anew_at_every_stage() -> None:
    seen = _run(_staged(optax.adam(1.0)), 3)
    # the first step of Adam is the rate itself, whatever the gradient; it is not the third here
    move = seen[2]["head"]["kernel"] - seen[1]["head"]["kernel"]
    np.testing.assert_allclose(move, -0.05, rtol=1e-4)
    momentum = _run(_staged(optax.sgd(1.0, momentum=0.9)), 3)
    move = momentum[2]["head"]["kernel"] - momentum[1]["head"]["kernel"]
    np.testing.assert_allclose(move, -0.15, rtol=1e-4)


def test_frozen_gradients_do_not_count_in_the_clipped_norm() -> None:
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0))
    seen = _run(_staged(clipped), 3)
    move = seen[2]["head"]["kernel"] - seen[1]["head"]["kernel"]
    np.testing.assert_allclose(move, -0.05, rtol=1e-4)  # alone, its norm is clipped to 1


def test_numbers_that_do_not_fit_are_refused() -> None:
    everything = [lambda path: True] * 3
    with pytest.raises(ValueError, match="2 rates, 3 trainable sets and 1 boundaries"):
        staged(optax.sgd(1.0), boundaries=[1], rates=[1.0, 2.0], trained=everything)
    with pytest.raises(ValueError, match="must ascend"):
        staged(optax.sgd(1.0), boundaries=[2, 2], rates=[1.0] * 3, trained=everything)


def test_decay_by_size_is_the_gradient_of_the_mean_square() -> None:
    params = {
        "conv": {"kernel": jnp.asarray([[1.0, -2.0], [3.0, 0.5]]), "bias": jnp.asarray([4.0])},
        "norm": {"scale": jnp.asarray([2.0]), "bias": jnp.asarray([5.0])},
    }

    def penalty(params: dict) -> jax.Array:
        kernels = (params["conv"]["kernel"], params["conv"]["bias"])
        return sum((1e-2 * jnp.mean(jnp.square(leaf)) for leaf in kernels), jnp.zeros(()))

    zeros = jax.tree.map(jnp.zeros_like, params)
    found, _ = decay_by_size(1e-2).update(zeros, optax.EmptyState(), params)
    expected = jax.grad(penalty)(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    assert float(found["norm"]["bias"][0]) == 0.0


def test_each_gradient_is_clipped_on_its_own() -> None:
    grads = {"a": jnp.asarray([3.0, 4.0]), "b": jnp.asarray([0.3, 0.4]), "c": jnp.zeros(2)}
    found, _ = clip_each(1.0).update(grads, optax.EmptyState(), grads)
    np.testing.assert_allclose(found["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(found["b"], grads["b"])
    np.testing.assert_array_equal(found["c"], 0)


def test_both_are_options_of_the_config() -> None:
    config = {
        "name": "sgd", "learning_rate": 1.0, "momentum": 0.0, "weight_decay": 0.5,
        "decay_over_size": True, "clip_each_norm": 1.0,
    }  # fmt: skip
    tx = make_optimizer(config)
    params = {"kernel": jnp.asarray([2.0, 0.0])}
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = tx.update({"kernel": jnp.asarray([0.0, 9.0])}, tx.init(params), params)
    # the gradient is clipped to 1; decay adds 2 * 0.5 / 2 * w
    np.testing.assert_allclose(updates["kernel"], [-1.0, -1.0], rtol=1e-6)
