import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from cellml.train import step as step_module
from cellml.train.optim import make_optimizer
from cellml.train.parallel import (
    fetch_metrics,
    make_train_step,
    pad_batch,
    replicate,
    shard_batch,
    unreplicate,
)
from cellml.train.state import TrainState, create_state, eval_variables
from cellml.train.step import train_step
from tests.train.tasks import mlp_task, points

KEY = jax.random.key(5)
TX = make_optimizer({"name": "adamw", "learning_rate": 0.05, "clip_norm": 0.4})
TASKS = {
    "plain": mlp_task(),
    "stats": mlp_task(stats=True),
    "first": mlp_task(stats=True)._replace(reduce_state="first"),
    "noisy": mlp_task(noise=1.0),
}


@functools.cache
def start(name: str) -> TrainState:
    """A state on the host, with an average."""
    state = create_state(jax.random.key(1), TASKS[name], TX, points(4), ema=True)
    return unreplicate(state, 1)


@functools.cache
def compiled(name: str, device_count: int):
    return make_train_step(TASKS[name], TX, jax.local_devices()[:device_count], ema_decay=0.9)


def run_steps(name, batches, device_count, *, step=None):
    """The state and the last metrics after some steps on the first few devices."""
    step = compiled(name, device_count) if step is None else step
    state = replicate(start(name), jax.local_devices()[:device_count])
    metrics = {}
    for batch in batches:
        state, metrics = step(state, shard_batch(batch, device_count, rows=24), KEY)
    return unreplicate(state, device_count), fetch_metrics(metrics, device_count)


def assert_close(got, want, rtol=2e-5, atol=2e-6):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("count", [24, 21, 5])
def test_eight_devices_equal_one(count):
    # 21 and 5 are uneven: some devices get padding, with 5 rows three of them nothing else.
    data = points(count)
    one, one_metrics = run_steps("stats", [data] * 3, 1)
    eight, eight_metrics = run_steps("stats", [data] * 3, 8)
    # The model state is a mean over valid rows, so that its weighted mean is exact too.
    assert_close(eight, one)
    assert_close(eight_metrics, one_metrics)


def test_mean_of_means_would_differ():
    # Guards the test above: its second loss has counts that differ between shards.
    per_shard = points(24)["y"].reshape(8, 3).sum(axis=1)
    assert len(set(per_shard.tolist())) > 1


def sharded_step(name):
    mesh = Mesh(np.array(jax.local_devices()), ("devices",))
    replicated, split = PartitionSpec(), PartitionSpec("devices")

    def local(state, batch, key):
        return train_step(TASKS[name], TX, state, batch, key, axis_name="devices", ema_decay=0.9)

    specs = {"in_specs": (replicated, split, replicated), "out_specs": (replicated, replicated)}
    return jax.jit(jax.shard_map(local, mesh=mesh, **specs))


@pytest.mark.parametrize("name", ["stats", "first"])
def test_step_under_shard_map(name):
    # shard_map proves statically that state and metrics are the same on every device.
    data = points(24)
    state, metrics = sharded_step(name)(start(name), data, KEY)
    one, one_metrics = run_steps("stats", [data], 1)
    if name == "first":
        mean = state.model_state["batch_stats"]["mean"]
        np.testing.assert_allclose(mean, data["x"][:3].mean(axis=0), rtol=1e-5)
        state, one = state._replace(model_state={}), one._replace(model_state={})
    assert_close(state, one)
    assert_close({n: (float(a), float(b)) for n, (a, b) in metrics.items()}, one_metrics)


def test_forgotten_psum_is_noticed(monkeypatch):
    data = points(24)
    one, _ = run_steps("plain", [data], 1)
    real = step_module._psum
    # Only trees of gradients are dictionaries: losses and counts are still added up.
    monkeypatch.setattr(
        step_module,
        "_psum",
        lambda tree, axis: tree if isinstance(tree, dict) else real(tree, axis),
    )
    with pytest.raises(ValueError, match="replicat"):
        sharded_step("plain")(start("plain"), data, KEY)
    broken = make_train_step(TASKS["plain"], TX, jax.local_devices(), ema_decay=0.9)
    eight, _ = run_steps("plain", [data], 8, step=broken)
    with pytest.raises(AssertionError):
        assert_close(eight, one)


def test_padding_changes_nothing():
    data = points(13)
    plain, plain_metrics = run_steps("plain", [data], 1)
    padded, padded_metrics = run_steps("plain", [pad_batch(data, 30)], 1)
    assert_close(padded, plain)
    assert_close(padded_metrics, plain_metrics)
    # The rows' values do not matter either, only that they are finite.
    changed = pad_batch(data, 30)
    changed["x"][13:] = 7.5
    again, _ = run_steps("plain", [changed], 1)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(padded), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_counted_gives_zero_gradient():
    data = points(8)
    data["valid"][:] = False
    before = start("plain")
    after, metrics = run_steps("plain", [data], 1)
    mu = after.opt_state[1][0].mu
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(mu))
    assert after.step == before.step + 1
    assert metrics == {
        "loss": (0.0, 1.0),
        "nll": (0.0, 0.0),
        "square": (0.0, 0.0),
        "grad_norm": (0.0, 1.0),
        "finite": (1.0, 1.0),
    }


def test_jit_equals_eager():
    data, task, tx = points(12), TASKS["noisy"], optax.sgd(0.1)
    params = start("noisy").params
    state = TrainState(np.asarray(0, np.int32), params, {}, tx.init(params))
    eager, eager_metrics = train_step(task, tx, state, data, KEY)
    jitted, jitted_metrics = jax.jit(lambda s, b: train_step(task, tx, s, b, KEY))(state, data)
    assert_close(jitted, eager)
    assert_close(jitted_metrics, eager_metrics)


def test_total_is_weighted_and_gradient_norm_that_before_clipping():
    data, task = points(24), TASKS["plain"]

    @jax.jit
    def norm(params):
        def total(params):
            losses, _ = task.losses({"params": params}, data, KEY, True)
            return sum(task.weights[n] * s / c for n, (s, c) in losses.items())

        return jnp.sqrt(
            sum(jnp.sum(jnp.square(g)) for g in jax.tree.leaves(jax.grad(total)(params)))
        )

    _, metrics = run_steps("plain", [data], 1)
    means = {name: s / c for name, (s, c) in metrics.items()}
    assert means["loss"] == pytest.approx(means["nll"] + 0.01 * means["square"], rel=1e-6)
    assert means["grad_norm"] == pytest.approx(float(norm(start("plain").params)), rel=1e-5)


def test_devices_draw_different_noise():
    # Two devices with the same row each: equal noise would give twice the loss of one of them.
    data = points(1)
    step = make_train_step(TASKS["noisy"], TX, jax.local_devices()[:2])
    batch = {name: np.stack([array, array]) for name, array in data.items()}
    state = replicate(start("noisy"), jax.local_devices()[:2])
    _, metrics = step(state, batch, KEY)
    params = start("noisy").params
    loss = jax.jit(lambda key: TASKS["noisy"].losses({"params": params}, data, key, True)[0])
    alone = [float(loss(jax.random.fold_in(KEY, i))["nll"][0]) for i in range(2)]
    assert abs(alone[0] - alone[1]) > 1e-3
    assert fetch_metrics(metrics, 2)["nll"] == (pytest.approx(sum(alone), rel=1e-5), 2.0)


def test_moving_average_by_hand():
    data = points(24)
    step = compiled("plain", 1)
    state = replicate(start("plain"), jax.local_devices()[:1])
    want = start("plain").params["b"]["kernel"].astype(np.float64)
    for count in range(4):
        state, _ = step(state, data, KEY)
        decay = min(0.9, (1 + count) / (10 + count))
        want = decay * want + (1 - decay) * np.asarray(state.params["b"]["kernel"])
    np.testing.assert_allclose(state.ema_params["b"]["kernel"], want, rtol=1e-5)
    averaged = eval_variables(state)["params"]["b"]["kernel"]
    np.testing.assert_array_equal(averaged, state.ema_params["b"]["kernel"])
    assert int(state.step) == 4


def test_not_finite_is_flagged():
    data = points(24)
    data["x"][3, 1] = np.nan
    _, metrics = run_steps("plain", [data], 1)
    assert metrics["finite"] == (0.0, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"nll": 1.0}}, r"losses \['nll', 'square'\] but weights \['nll'\]"),
        ({"reduce_state": "median"}, r"'median', expected one of \['mean', 'first'\]"),
    ],
)
def test_mistakes_in_tasks_are_named(change, message):
    task = TASKS["plain"]._replace(**change)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda s, b: train_step(task, TX, s, b, KEY), start("plain"), points(4))


def test_state_is_a_copy_of_given_variables():
    # The step reuses the buffers of its state; the caller's parameters must survive that.
    variables = jax.tree.map(jnp.asarray, {"params": start("plain").params})
    state = create_state(KEY, TASKS["plain"], TX, points(2), variables=variables, ema=True)
    compiled("plain", 1)(replicate(state, jax.local_devices()[:1]), points(24), KEY)
    assert np.all(np.isfinite(np.asarray(variables["params"]["a"]["kernel"])))
