from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.metrics import (
    aji_sums,
    compute,
    empty,
    evaluate_labels,
    iou,
    match_instances,
    merge,
    overlap_table,
    summarise,
    summed,
    summed_counts,
)
from tests.metrics import oracles

N = 16


def pair(seed):
    rng = np.random.default_rng(seed)
    true = oracles.random_labels(rng)
    return true, oracles.disturbed(rng, true)


TRUE, PRED = (np.stack(side) for side in zip(*map(pair, range(6)), strict=True))


def sums_of(true, pred):
    """One batch's accumulator."""
    match = partial(match_instances, max_instances=N, iou_min=(0.5, 0.75))
    table = jax.vmap(partial(overlap_table, max_instances=N))(true, pred)
    return {
        "iou": summed(iou(true > 0, pred > 0)),
        "instances": summed_counts(jax.vmap(match)(true, pred)),
        "aji": summed_counts(jax.vmap(aji_sums)(table)),
    }


SUMS = [jax.jit(sums_of)(TRUE[k : k + 2], PRED[k : k + 2]) for k in (0, 2, 4)]


def assert_close(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), a, b)


def test_merge_is_associative_and_commutative_with_an_identity():
    a, b, c = SUMS
    assert_close(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_close(merge(a, b), merge(b, a))
    assert_close(merge(empty(), a), a)
    assert_close(merge(a, empty()), a)
    assert_close(merge(a, empty(like=a)), a)
    assert merge(empty(), empty()) == {}


def test_batches_equal_the_pooled_host_path():
    found = compute(merge(merge(*SUMS[:2]), SUMS[2]))
    hosts = [
        evaluate_labels(t, p, preset="stardist", thresholds=[0.5, 0.75])
        for t, p in zip(TRUE, PRED, strict=True)
    ]
    expected = summarise(hosts)
    np.testing.assert_allclose(found["instances/ap"], expected.ap, rtol=1e-6)
    np.testing.assert_allclose(found["instances/f1"], expected.f1, rtol=1e-6)
    assert found["instances/pq"][0] == pytest.approx(expected.pq)
    assert found["aji"] == pytest.approx(expected.aji)
    assert found["iou"] == pytest.approx(float(iou(TRUE > 0, PRED > 0).mean()))


def test_psum_equals_merge():
    devices = jax.tree.map(lambda *x: jnp.stack(x), *SUMS)
    found = jax.vmap(partial(jax.lax.psum, axis_name="devices"), axis_name="devices")(devices)
    assert_close(jax.tree.map(lambda x: x[0], found), merge(merge(*SUMS[:2]), SUMS[2]))


def test_summed_leaves_out_what_has_no_score():
    values = jnp.array([0.25, jnp.nan, 0.5, 4.0])
    total, count = summed(values, np.array([True, True, True, False]))
    assert (float(total), float(count)) == (0.75, 2)
    assert compute({"score": (total, count)})["score"] == 0.375


def test_nothing_counted_follows_the_policy():
    acc = {"score": summed(jnp.array([jnp.nan]))}
    assert np.isnan(compute(acc)["score"])
    assert compute(acc, empty="zero")["score"] == 0


def test_refuses():
    with pytest.raises(ValueError, match=r"differ in names: .*'other'"):
        merge(SUMS[0], {"other": SUMS[0]["iou"]})
    with pytest.raises((ValueError, TypeError), match="valid"):
        summed(jnp.zeros(3), np.ones(2, bool))
    lost = match_instances(TRUE[0] + 9, PRED[0], max_instances=N)
    with pytest.raises(ValueError, match=r"nuclei: \d+ pixels have ids beyond max_instances"):
        compute({"nuclei": lost})
