"""Evidential models: losses worked out by other means, and what is predicted with them."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from cellml.losses_evidential import beta_moments, dirichlet_loss, nig_loss, nig_moments
from cellml.tasks.activity import ActivitySpec, predict_members, predict_with_spread
from cellml.tasks.activity_attribution import integrated_gradients
from cellml.tasks.activity_training import LossSettings, make_task, scales_of

RAW2 = np.array([[[0.3, -1.2], [2.0, 0.1]], [[-0.5, 3.0], [0.0, 0.0]]], np.float32)
RAW4 = np.array([[[0.4, 0.2, 1.5, -0.3], [-2.0, 1.0, 3.0, 2.0]]], np.float32)


def softplus(x):
    return np.log1p(np.exp(np.asarray(x, np.float64)))


def test_dirichlet_loss_is_the_expected_squared_error_and_a_divergence() -> None:
    target = np.array([[1, 0], [0, 1]], np.float32)
    found = np.asarray(dirichlet_loss(jnp.asarray(RAW2), jnp.asarray(target)))
    weighted = np.asarray(dirichlet_loss(jnp.asarray(RAW2), jnp.asarray(target), 0.5))
    for i, t in np.ndindex(2, 2):
        no, yes = softplus(RAW2[i, t]) + 1
        beta = stats.beta(yes, no)
        y = target[i, t]
        expected = 2 * integrate.quad(lambda p, b=beta, y=y: b.pdf(p) * (y - p) ** 2, 0, 1)[0]
        assert found[i, t] == pytest.approx(expected, rel=1e-4)
        left = stats.beta(1, no) if y else stats.beta(yes, 1)
        divergence = integrate.quad(lambda p, b=left: b.pdf(p) * b.logpdf(p), 1e-12, 1 - 1e-12)[0]
        assert weighted[i, t] - found[i, t] == pytest.approx(0.5 * divergence, rel=1e-3, abs=1e-5)
    # By hand: softplus(x) + 1 = 2 for both, p = 1/2: (1/4 + 1/4) + 2 (1/4) / 5.
    raw = jnp.full((1, 1, 2), math.log(math.e - 1))
    np.testing.assert_allclose(dirichlet_loss(raw, jnp.ones((1, 1))), 0.6, rtol=1e-5)


def test_nig_loss_is_the_likelihood_of_a_student_distribution() -> None:
    target = np.array([[1.0, -0.5]], np.float32)
    found = np.asarray(nig_loss(jnp.asarray(RAW4), jnp.asarray(target)))
    weighted = np.asarray(nig_loss(jnp.asarray(RAW4), jnp.asarray(target), 0.2))
    mean, variance = (np.asarray(x) for x in nig_moments(jnp.asarray(RAW4)))
    for t in range(2):
        mu, (nu, a, b) = RAW4[0, t, 0], softplus(RAW4[0, t, 1:]) + np.array([0, 1, 0])
        student = stats.t(2 * a, loc=mu, scale=math.sqrt(b * (1 + nu) / (nu * a)))
        assert found[0, t] == pytest.approx(-student.logpdf(target[0, t]), rel=1e-4)
        cost = abs(target[0, t] - mu) * (2 * nu + a)
        assert weighted[0, t] - found[0, t] == pytest.approx(0.2 * cost, rel=1e-4)
        assert mean[0, t] == mu
        assert variance[0, t] == pytest.approx(student.var(), rel=1e-4)


def test_moments_are_those_of_the_beta_distribution() -> None:
    mean, variance = (np.asarray(x) for x in beta_moments(jnp.asarray(RAW2)))
    no, yes = np.moveaxis(softplus(RAW2) + 1, -1, 0)
    np.testing.assert_allclose(mean, stats.beta(yes, no).mean(), rtol=1e-5)
    np.testing.assert_allclose(variance, stats.beta(yes, no).var(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_models_learn_and_state_how_sure_they_are(kind: str) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (32, 16)).astype(np.uint8)
    labels = np.stack([bits[:, 0], rng.integers(0, 2, 32)], axis=1).astype(np.float32)
    labels[::5, 0] = np.nan
    labels = labels if kind == "binary" else 30 + 10 * labels
    spec = ActivitySpec(
        kind=kind, assays=("a", "b"), representation="morgan", hidden=(8,), evidential=True,
        members=2,
    )  # fmt: skip
    batch = {"valid": np.ones(32, bool), "fingerprint": bits, "labels": labels}
    settings = LossSettings(evidence_weight=0.05)
    task = make_task(spec, settings, scales=scales_of(spec, labels))
    made = jax.jit(task.init)(jax.random.key(0), batch)

    @jax.jit
    def step(params):
        def total(p):
            ((s, c),) = task.losses({**made, "params": p}, batch, jax.random.key(1), True)[
                0
            ].values()
            return s / c

        loss, gradients = jax.value_and_grad(total)(params)
        return loss, jax.tree.map(lambda p, g: p - rate * g, params, gradients)

    rate = 0.5 if kind == "binary" else 0.1
    params, losses = made["params"], []
    for _ in range(60):
        loss, params = step(params)
        losses.append(float(loss))
    assert losses[-1] < losses[0] - 0.1
    trained = {**made, "params": params}
    mean, spread = jax.jit(functools.partial(predict_with_spread, spec))(trained, batch)
    members = np.asarray(jax.jit(functools.partial(predict_members, spec))(trained, batch))
    assert members.shape == (2, 32, 2)
    np.testing.assert_allclose(mean, members.mean(0), rtol=1e-5)
    # The law of total variance: what members state comes on top of how they differ.
    assert (np.asarray(spread) > members.std(0)).all()
    low, high = (0, 1) if kind == "binary" else (20, 50)
    assert ((members > low) & (members < high)).all()
    hit = bits[:, 0] == 1
    assert np.asarray(mean)[hit, 0].mean() > np.asarray(mean)[~hit, 0].mean() + 0.1 * (high - low)
    found = jax.jit(functools.partial(integrated_gradients, spec))(
        trained, batch, jnp.asarray(0), jnp.asarray(0)
    )
    moved = np.asarray(found.output - found.baseline)
    np.testing.assert_allclose(
        np.asarray(found.bits).sum(1), moved, atol=0.05 * np.abs(moved).max()
    )
    np.testing.assert_allclose(found.prediction, mean[:, 0], rtol=1e-4)


def test_what_evidence_does_not_go_with() -> None:
    with pytest.raises(ValueError, match="evidential goes with binary and regression alone"):
        ActivitySpec(kind="multiclass", n_classes=3, assays=("a",), evidential=True)
    spec = ActivitySpec(assays=("a",), evidential=True)
    with pytest.raises(ValueError, match="loss 'bce' for kind 'binary', expected one of dirichlet"):
        make_task(spec, LossSettings(loss="bce"))
    assert ActivitySpec.from_json(spec.to_json()) == spec
    without = {k: v for k, v in spec.to_json().items() if k != "evidential"}
    assert ActivitySpec.from_json(without) == dataclasses.replace(spec, evidential=False)
