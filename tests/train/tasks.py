"""Tiny tasks for the tests of training: an MLP on points in the plane."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from cellml.types import Task


def points(count: int = 64, seed: int = 3) -> dict[str, np.ndarray]:
    """Points with a curved boundary between two unequal classes, and an awkward regression."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 2)).astype(np.float32)
    y = (x[:, 0] ** 2 + 0.7 * x[:, 1] > 0.8).astype(np.float32)
    return {
        "x": x,
        "y": y,
        "valid": np.ones(count, np.bool_),
        "index": np.arange(100, 100 + count, dtype=np.int32),
    }


def rows(data: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Some rows of a data set as a batch."""
    return {name: array[chosen] for name, array in data.items()}


def batches_of(data: dict[str, np.ndarray], size: int):
    """Random batches whose rows depend on the step alone."""

    def batches(start: int) -> Iterator[dict[str, np.ndarray]]:
        step = start
        while True:
            rng = np.random.default_rng([11, step])
            yield rows(data, rng.choice(len(data["y"]), size, replace=False))
            step += 1

    return batches


def mlp_task(*, noise: float = 0.0, stats: bool = False, hidden: int = 16) -> Task:
    """A two-layer perceptron with a logistic loss and a masked penalty with its own count."""

    def init(key, batch):
        k1, k2 = jax.random.split(key)
        params = {
            "a": {"kernel": jax.random.normal(k1, (2, hidden)), "bias": jnp.zeros((hidden,))},
            "b": {"kernel": 0.3 * jax.random.normal(k2, (hidden, 1)), "bias": jnp.zeros((1,))},
        }
        extra = {"batch_stats": {"mean": jnp.zeros((2,))}} if stats else {}
        return {"params": params, **extra}

    def logits(params, x):
        h = jnp.tanh(x @ params["a"]["kernel"] + params["a"]["bias"][None])
        return (h @ params["b"]["kernel"] + params["b"]["bias"][None])[:, 0]

    def losses(variables, batch, key, train):
        x = batch["x"]
        if noise:
            x = x + noise * jax.random.normal(key, x.shape)
        z = logits(variables["params"], x)
        valid = batch["valid"].astype(jnp.float32)
        nll = jax.nn.softplus(z) - z * batch["y"]
        # Counted on the positives only: devices have very different counts of it.
        positive = valid * batch["y"]
        state = {}
        if stats:
            mean = jnp.sum(x * valid[:, None], axis=0) / jnp.maximum(jnp.sum(valid), 1.0)
            state = {"batch_stats": {"mean": mean}}
        found = {
            "nll": (jnp.sum(valid * nll), jnp.sum(valid)),
            "square": (jnp.sum(positive * jnp.square(z)), jnp.sum(positive)),
        }
        return found, state

    def metrics(variables, batch):
        z = logits(variables["params"], batch["x"])
        valid = batch["valid"].astype(jnp.float32)
        correct = ((z > 0) == (batch["y"] > 0.5)).astype(jnp.float32)
        return {
            "accuracy": (jnp.sum(valid * correct), jnp.sum(valid)),
            "mean_logit": (jnp.sum(valid * z), jnp.sum(valid)),
        }

    return Task("toy", init, losses, {"nll": 1.0, "square": 0.01}, metrics)
