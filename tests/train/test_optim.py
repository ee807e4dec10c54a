import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from cellml.train.optim import make_optimizer, make_schedule, weight_decay_mask

SCALES = {"kernel": np.array([[1.0, -3.0], [0.5, 2.0]]), "bias": np.array([2.0, -1.0])}
START = {"kernel": np.array([[0.7, -0.2], [1.5, 0.3]]), "bias": np.array([0.4, -0.6])}


def run(config, steps=6):
    """Minimises sum(scale * p^2) / 2 in float32 with optax."""
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), START)
    tx = make_optimizer(config)
    with jax.numpy_dtype_promotion("standard"):

        @jax.jit
        def step(params, state):
            grads = {k: jnp.asarray(SCALES[k], jnp.float32) * params[k] for k in params}
            updates, state = tx.update(grads, state, params)
            return {k: params[k] + updates[k] for k in params}, state

        state = tx.init(params)
        for _ in range(steps):
            params, state = step(params, state)
    return params


def by_hand(update, steps=6, decay=0.0, decoupled=False, rate=lambda t: 0.1, clip=None):
    """The same in float64 with loops; `update(name, g, t)` gives the direction."""
    params = {k: v.copy() for k, v in START.items()}
    for t in range(steps):
        grads = {k: SCALES[k] * params[k] for k in params}
        if clip:
            norm = np.sqrt(sum(np.sum(g**2) for g in grads.values()))
            grads = {k: g * min(1.0, clip / norm) for k, g in grads.items()}
        for name, g in grads.items():
            wd = decay if name == "kernel" else 0.0
            g = g if decoupled else g + wd * params[name]
            step = update(name, g, t) + (wd * params[name] if decoupled else 0.0)
            params[name] = params[name] - rate(t) * step
    return params


def adam_rule(b1=0.9, b2=0.999, eps=1e-8):
    m = dict.fromkeys(START, 0.0)
    v = dict.fromkeys(START, 0.0)

    def update(name, g, t):
        m[name] = b1 * m[name] + (1 - b1) * g
        v[name] = b2 * v[name] + (1 - b2) * g**2
        return (m[name] / (1 - b1 ** (t + 1))) / (np.sqrt(v[name] / (1 - b2 ** (t + 1))) + eps)

    return update


def sgd_rule(momentum, nesterov):
    velocity = dict.fromkeys(START, 0.0)

    def update(name, g, t):
        velocity[name] = momentum * velocity[name] + g
        return g + momentum * velocity[name] if nesterov else velocity[name]

    return update


CASES = {
    "adam": ({"name": "adam"}, lambda: by_hand(adam_rule())),
    "adam_options": (
        {"name": "adam", "b1": 0.8, "b2": 0.9, "eps": 1e-2, "weight_decay": 0.3},
        lambda: by_hand(adam_rule(0.8, 0.9, 1e-2), decay=0.3),
    ),
    "adamw": (
        {"name": "adamw", "weight_decay": 0.3},
        lambda: by_hand(adam_rule(), decay=0.3, decoupled=True),
    ),
    "sgd": ({"name": "sgd", "momentum": 0.0}, lambda: by_hand(sgd_rule(0.0, False))),
    "momentum": ({"name": "sgd"}, lambda: by_hand(sgd_rule(0.9, False))),
    "nesterov": (
        {"name": "sgd", "nesterov": True, "weight_decay": 0.2},
        lambda: by_hand(sgd_rule(0.9, True), decay=0.2),
    ),
    "clipped": (
        {"name": "sgd", "momentum": 0.0, "clip_norm": 0.5},
        lambda: by_hand(sgd_rule(0.0, False), clip=0.5),
    ),
    "scheduled": (
        {
            "name": "sgd",
            "momentum": 0.0,
            "schedule": {"name": "piecewise", "boundaries": (2, 4), "factors": (0.5, 0.1)},
        },
        lambda: by_hand(
            sgd_rule(0.0, False), rate=lambda t: [0.1, 0.1, 0.05, 0.05, 0.005, 0.005][t]
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_updates_equal_those_by_hand(case):
    config, expected = CASES[case]
    got, want = run({"learning_rate": 0.1, **config}), expected()
    for name in want:
        # 1 - 0.999^t keeps four digits in float32.
        np.testing.assert_allclose(got[name], want[name], rtol=2e-4, atol=1e-6)


def test_sgd_two_steps_on_paper():
    # p = 0.4, gradient 2 p: p1 = 0.4 - 0.1 * 0.8 = 0.32; the velocity is then 0.9 * 0.8 + 0.64 =
    # 1.36, p2 = 0.32 - 0.136 = 0.184.
    got = run({"name": "sgd", "learning_rate": 0.1}, steps=2)
    assert float(got["bias"][0]) == pytest.approx(0.184, rel=1e-6)


def rates(schedule, steps, **config):
    rate = make_schedule({"learning_rate": 2.0, "schedule": schedule, **config})
    return np.asarray(jax.jit(jax.vmap(rate))(jnp.asarray(steps))).tolist()


def test_schedules_at_chosen_steps():
    assert rates({"name": "constant"}, [0, 1, 99]) == [2.0, 2.0, 2.0]
    assert rates({"name": "constant", "warmup_steps": 4}, [0, 1, 4, 9]) == [0.0, 0.5, 2.0, 2.0]
    cosine = {"name": "cosine", "steps": 12, "warmup_steps": 4, "final_fraction": 0.1}
    # Half way down, at step 8, the shape is 1/2: 2 * (0.1 + 0.9 / 2) = 1.1.
    assert rates(cosine, [0, 2, 4, 8, 12, 50]) == pytest.approx([0.0, 1.0, 2.0, 1.1, 0.2, 0.2])
    noam = {"name": "noam", "steps": 14, "warmup_steps": 4, "final_fraction": 0.01}
    # Half way down, at step 9, the geometric mean of 2 and 0.02.
    assert rates(noam, [0, 2, 4, 9, 14, 50]) == pytest.approx([0.2, 1.1, 2.0, 0.2, 0.02, 0.02])
    pieces = {"name": "piecewise", "boundaries": [3, 5], "factors": [0.5, 0.1]}
    assert rates(pieces, [0, 2, 3, 4, 5, 9]) == pytest.approx([2.0, 2.0, 1.0, 1.0, 0.1, 0.1])


def test_no_schedule_is_constant_and_traced_steps_work():
    rate = make_schedule({"learning_rate": 0.3})
    assert float(jax.jit(rate)(jnp.int32(7))) == pytest.approx(0.3)


def test_decay_leaves_biases_and_norms_alone():
    params = {
        "conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.ones(4)},
        "norm": {"scale": jnp.ones(4), "bias": jnp.ones(4)},
        "wide_norm": {"scale": jnp.ones((1, 4))},
        "embed": {"embedding": jnp.ones((5, 4))},
    }
    assert weight_decay_mask(params) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "wide_norm": {"scale": False},
        "embed": {"embedding": True},
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "adm", "learning_rate": 1.0}, "unknown optimizer 'adm', known: adam, adamw, sgd"),
        ({"name": "adam"}, "'learning_rate' is missing"),
        (
            {"name": "adam", "learning_rate": 1.0, "nesterov": True},
            r"optimizer adam: unknown options \['nesterov'\], known: weight_decay, "
            "decay_over_size, b1, b2, eps",
        ),
        (
            {"name": "adam", "learning_rate": 1.0, "schedule": {"name": "cos"}},
            "unknown schedule 'cos', known: constant, cosine, noam, piecewise",
        ),
        (
            {"name": "adam", "learning_rate": 1.0, "schedule": {"name": "cosine"}},
            r"schedule cosine: options \['steps'\] are missing",
        ),
        (
            {"name": "adam", "learning_rate": 1.0, "schedule": {"name": "cosine", "steps": 0}},
            "steps 0 must exceed warmup_steps 0",
        ),
        (
            {
                "name": "adam",
                "learning_rate": 1.0,
                "schedule": {"name": "piecewise", "boundaries": [3, 2], "factors": [0.1, 0.1]},
            },
            "must ascend",
        ),
    ],
)
def test_mistakes_in_configs_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        make_optimizer(config)
    with pytest.raises(ValueError, match=message):
        make_optimizer(ConfigDict(config))
