"""Jittable instance scores against exact loops, hand-made cases and the host path."""

from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.metrics import (
    DSB2018_THRESHOLDS,
    aji,
    aji_sums,
    ap_dsb2018,
    evaluate_labels,
    match_instances,
    match_rates,
    overlap_table,
)
from tests.metrics import oracles

N = 16
SHAPE = (20, 27)
LEVELS = [Fraction(k, 20) for k in range(10, 20)]


def pair(seed):
    rng = np.random.default_rng(seed)
    true = oracles.random_labels(rng, SHAPE)
    return true, oracles.disturbed(rng, true)


PAIRS = [pair(seed) for seed in range(6)]
TRUE, PRED = (np.stack(side) for side in zip(*PAIRS, strict=True))


@partial(jax.jit, static_argnames="strict")
def counts_of(true, pred, strict=False, mask=None, valid=None):
    return match_instances(
        true,
        pred,
        max_instances=N,
        iou_min=DSB2018_THRESHOLDS,
        strict=strict,
        mask=mask,
        valid=valid,
    )


ap_of = jax.jit(partial(ap_dsb2018, max_instances=N))
aji_of = jax.jit(partial(aji, max_instances=N))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_thresholds_are_decimals():
    assert list(DSB2018_THRESHOLDS) == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_overlap_table_equals_loops():
    table = overlap_table(TRUE[0], PRED[0], max_instances=N)
    for i, j in np.ndindex(N - 1, N - 1):
        shared = sum(
            t == i + 1 and p == j + 1 for t, p in zip(TRUE[0].flat, PRED[0].flat, strict=True)
        )
        assert table.intersection[i, j] == shared
    np.testing.assert_array_equal(table.area_true, np.bincount(TRUE[0].flat, minlength=N)[1:])
    np.testing.assert_array_equal(table.area_pred, np.bincount(PRED[0].flat, minlength=N)[1:])
    assert table.overflow == 0


@pytest.mark.parametrize("strict", [True, False])
def test_counts_equal_loops(strict):
    seen = 0
    for true, pred in PAIRS:
        found = counts_of(true, pred, strict=strict)
        expected = [oracles.match_counts(true, pred, t, strict) for t in LEVELS]
        np.testing.assert_array_equal(np.stack(found[:3], 1), expected)
        ious = [v for v in oracles.iou_matrix(true, pred).values() if v > Fraction(1, 2)]
        assert found.iou_sum[1] == pytest.approx(float(sum(v for v in ious if v > LEVELS[1])))
        seen += int(found.tp.sum())
    assert seen > 50


def test_by_hand():
    true = np.zeros((4, 10), np.int32)
    pred = true.copy()
    true[0, :5], true[2, :4] = 1, 2
    pred[0, :4], pred[2, 4:8], pred[3, :2] = 3, 1, 2
    # IoU of (1, 3) is 4 / 5; instance 2, and predictions 1 and 2, are alone.
    counts = match_instances(true, pred, max_instances=4, iou_min=0.8)
    assert [int(x) for x in counts[:3]] == [1, 2, 1]
    assert counts.iou_sum == pytest.approx(0.8)
    rates = match_rates(counts)
    assert rates.precision == pytest.approx(1 / 3)
    assert rates.recall == pytest.approx(1 / 2)
    assert rates.f1 == pytest.approx(2 / 5)
    assert rates.ap == pytest.approx(1 / 4)
    assert rates.pq == pytest.approx(0.8 * 2 / 5)
    assert match_instances(true, pred, max_instances=4, iou_min=0.8, strict=True).tp == 0
    # Hits at .5, .55 ... .75, six of ten thresholds, each worth 1 / 4.
    assert ap_dsb2018(true, pred, max_instances=4) == pytest.approx(6 / 40)
    assert ap_dsb2018(true, pred, max_instances=4, strict=False) == pytest.approx(7 / 40)
    # AJI: 4 shared; 5 united, then 4 of the missed instance, then 4 + 2 of the unused predictions.
    assert aji(true, pred, max_instances=4) == pytest.approx(4 / 15)


@pytest.mark.parametrize("level", LEVELS, ids=float)
def test_iou_equal_to_the_threshold(level):
    """An IoU of exactly k / 20 passes >= and fails >, at sizes where float32 cannot tell."""
    unit = 50_000
    true = np.ones((20, unit), np.int32)
    pred = np.zeros_like(true)
    pred[: level.numerator * (20 // level.denominator)] = 1
    match = partial(match_instances, max_instances=2, iou_min=float(level))
    assert match(true, pred, strict=False).tp == 1
    assert match(true, pred, strict=True).tp == 0
    pred[-1, -1] = 1  # one pixel in a million more
    assert match(true, pred, strict=True).tp == 1


def test_instances_cut_into_equal_halves():
    """The only ambiguity at IoU >= 0.5: one match for each, as by optimal assignment."""
    true = np.zeros(SHAPE, np.int32)
    pred = true.copy()
    true[1:5, 2:8] = 1
    pred[1:5, 2:5], pred[1:5, 5:8] = 4, 2  # two predictions, each one half
    true[8:10, 2:8], true[10:12, 2:8] = 2, 3
    pred[8:12, 2:8] = 3  # two true instances, one prediction
    true[1:5, 12:16] = 6
    pred[1:3, 12:16], pred[3:5, 12:16] = 6, 7
    true[15:17, 10:14] = 4
    pred[15:17, 10:12] = 1  # one half only: a plain match
    true[15:17, 20:24] = pred[15:17, 20:24] = 5
    found = counts_of(true, pred)
    assert [int(x[0]) for x in found[:3]] == [5, 2, 1]
    assert tuple(int(x[0]) for x in found[:3]) == oracles.match_counts(
        true, pred, Fraction(1, 2), strict=False
    )
    assert found.iou_sum[0] == pytest.approx(0.5 * 4 + 1)
    assert counts_of(true, pred, strict=True).tp[0] == 1


@pytest.mark.parametrize("strict", [True, False])
def test_equal_to_the_host_path(strict):
    preset = "kaggle" if strict else "cellpose"
    for true, pred in PAIRS:
        found, host = (
            counts_of(true, pred, strict=strict),
            evaluate_labels(true, pred, preset=preset),
        )
        assert_same(found[:3], (host.tp, host.fp, host.fn))
        rates = match_rates(found)
        for name in ("precision", "recall", "f1", "ap"):
            np.testing.assert_allclose(getattr(rates, name), getattr(host, name), rtol=1e-6)
        np.testing.assert_allclose(rates.sq, host.mean_matched_iou, rtol=1e-6)
        assert rates.pq[0] == pytest.approx(host.pq)
        assert aji_of(true, pred) == pytest.approx(host.aji)
        if strict:
            assert ap_of(true, pred) == pytest.approx(host.ap_dsb2018)


def test_aji_equals_loops():
    for true, pred in PAIRS:
        assert aji_of(true, pred) == pytest.approx(oracles.aji(true, pred))
        assert aji_of(pred, true) == pytest.approx(oracles.aji(pred, true))


def test_aji_prefers_the_larger_of_equal_ious():
    true = np.zeros((3, 12), np.int32)
    pred = true.copy()
    true[0] = 1
    pred[0, :2], pred[0, 2:6], pred[1, :10] = 2, 1, 1  # IoU 2 / 12 and 4 / 22
    assert aji(true, pred, max_instances=3) == pytest.approx(4 / (22 + 2))
    pred[1, :10] = 0
    pred[0] = [2] * 4 + [1] * 4 + [0] * 4
    pred[1, :1] = 1  # 4 / 12 and 4 / 13
    assert aji(true, pred, max_instances=3) == pytest.approx(4 / (12 + 5))


def test_eager_equals_jit_and_vmap_equals_loop():
    jitted = counts_of(TRUE[0], PRED[0])
    with jax.disable_jit():
        assert_same(counts_of(TRUE[0], PRED[0]), jitted)
    looped = [counts_of(t, p) for t, p in PAIRS]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *looped)
    batched = jax.jit(jax.vmap(counts_of))
    assert_same(batched(TRUE, PRED), stacked)
    # vmap over one side only, and vmap of vmap
    one_true = jax.vmap(counts_of, (None, 0))(TRUE[1], PRED)
    assert_same(jax.tree.map(lambda x: x[1], one_true), looped[1])
    twice = jax.vmap(jax.vmap(counts_of))(TRUE.reshape(2, 3, *SHAPE), PRED.reshape(2, 3, *SHAPE))
    assert_same(jax.tree.map(lambda x: x.reshape(6, *x.shape[2:]), twice), stacked)


def test_batched_scatter_of_accelerators_equals_loop():
    """The rule for vmap has two branches; a CPU runs the other one by itself."""
    from cellml.ops import overlap

    codes = jnp.asarray(np.random.default_rng(0).integers(0, 53, (4, 99)), jnp.int32)
    expected = [np.bincount(c, minlength=53)[:50] for c in codes]  # 50 to 52 have no bin
    np.testing.assert_array_equal(overlap.count_codes_at_once(codes, 50), expected)
    np.testing.assert_array_equal(overlap.count_codes_in_turn(codes, 50), expected)


def test_permuted_ids_change_nothing():
    rng = np.random.default_rng(5)
    for true, pred in PAIRS[:3]:
        new_true, new_pred = (np.append(0, 1 + rng.permutation(N - 1)) for _ in range(2))
        a, b = new_true[true].astype(np.int32), new_pred[pred].astype(np.int32)
        before, after = counts_of(true, pred), counts_of(a, b)
        assert_same(after[:3], before[:3])
        np.testing.assert_allclose(after.iou_sum, before.iou_sum, rtol=1e-6)
        assert aji_of(a, b) == aji_of(true, pred)


def test_swapping_sides_swaps_fp_and_fn():
    for true, pred in PAIRS:
        a, b = counts_of(true, pred), counts_of(pred, true)
        assert_same((a.tp, a.fp, a.fn), (b.tp, b.fn, b.fp))


def test_flips_change_nothing():
    flipped = counts_of(TRUE[0][::-1, ::-1], PRED[0][::-1, ::-1])
    assert_same(flipped, counts_of(TRUE[0], PRED[0]))


def test_identical_images_are_perfect():
    assert ap_of(TRUE[0], TRUE[0]) == 1
    assert aji_of(TRUE[0], TRUE[0]) == 1
    assert match_rates(counts_of(TRUE[0], TRUE[0])).pq[0] == pytest.approx(1)


def test_empty_images_follow_the_policy():
    nothing = np.zeros(SHAPE, np.int32)
    assert_same(counts_of(nothing, nothing)[:4], (np.zeros(10),) * 4)
    for empty, value in (("nan", np.nan), ("one", 1), ("zero", 0)):
        score = partial(ap_dsb2018, max_instances=N, empty=empty)
        np.testing.assert_equal(float(score(nothing, nothing)), value)
        rates = match_rates(counts_of(nothing, nothing), empty=empty)
        assert_same(tuple(rates), (np.full(10, value),) * 6)
    for true, pred in ((TRUE[0], nothing), (nothing, TRUE[0])):
        assert ap_of(true, pred) == 0
        assert aji_of(true, pred) == 0
        assert_same(match_rates(counts_of(true, pred)).ap, np.zeros(10))


def test_one_pixel_and_one_object():
    dot, full = np.zeros(SHAPE, np.int32), np.full(SHAPE, 7, np.int32)
    dot[3, 4] = N - 1
    assert ap_of(dot, dot) == 1
    assert ap_of(full, full) == 1
    assert ap_of(dot, full) == 0
    assert aji_of(dot, full) == pytest.approx(1 / full.size)


def test_masked_padding_changes_nothing():
    mask = np.zeros((26, 31), bool)
    mask[2:22, 3:30] = True
    true, pred = np.random.default_rng(2).integers(-3, 99, (2, 26, 31)).astype(np.int32)
    true[mask], pred[mask] = TRUE[0].ravel(), PRED[0].ravel()
    assert_same(counts_of(true, pred, mask=mask), counts_of(TRUE[0], PRED[0]))
    assert ap_of(true, pred, mask=mask) == ap_of(TRUE[0], PRED[0])
    assert aji_of(true, pred, mask=mask) == aji_of(TRUE[0], PRED[0])


def test_padding_images_do_not_count():
    for function in (ap_of, aji_of):
        assert np.isnan(function(TRUE[0], PRED[0], valid=np.array(False)))
        assert function(TRUE[0], PRED[0], valid=np.array(True)) == function(TRUE[0], PRED[0])
    for leaf in counts_of(TRUE[0], PRED[0], valid=np.array(False)):
        assert not np.any(leaf)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.uint32])
def test_any_integer_dtype(dtype):
    table = partial(overlap_table, max_instances=300)  # more than uint8 can hold
    expected = table(TRUE[0], PRED[0])
    assert_same(table(TRUE[0].astype(dtype), PRED[0].astype(dtype)), expected)


@pytest.mark.parametrize("bad", [-1, N, 2**31 - 1])
def test_ids_that_do_not_fit_are_flagged(bad):
    true = TRUE[0].copy()
    true[-2, -4:] = bad
    counts = counts_of(true, PRED[0])
    assert counts.overflow == 4
    assert counts_of(PRED[0], true).overflow == 4
    assert np.isnan(ap_of(true, PRED[0]))
    assert np.isnan(aji_of(true, PRED[0]))
    batch = jax.vmap(partial(overlap_table, max_instances=N))(np.stack([true, TRUE[1]]), PRED[:2])
    assert batch.overflow.tolist() == [4, 0]
    assert_same(jax.tree.map(lambda x: x[1], batch), overlap_table(*PAIRS[1], max_instances=N))


def test_pooling_is_a_sum():
    table = jax.vmap(partial(overlap_table, max_instances=N))(TRUE, PRED)
    sums = jax.vmap(aji_sums)(table)
    hosts = [evaluate_labels(t, p) for t, p in PAIRS]
    np.testing.assert_array_equal(sums.intersection, [h.sums[4] for h in hosts])
    np.testing.assert_array_equal(sums.union, [h.sums[5] for h in hosts])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_min": 0.49}, r"within \[0.5, 1\], found 0.49"),
        ({"iou_min": (0.5, 1.2)}, r"found 1.2"),
        ({"iou_min": ()}, "at least one"),
        ({"iou_min": 0.123456789 + 0.5, "true": np.zeros((99, 99), np.int32)}, "fewer decimals"),
        ({"max_instances": 1}, "max_instances"),
        ({"max_instances": 40_000}, "max_instances"),
        ({"pred": np.zeros((3, 4), np.int32)}, "pred"),
        ({"true": TRUE[0].astype(np.float32)}, "true"),
        ({"mask": np.ones((3, 4), bool)}, "mask"),
    ],
)
def test_refuses(options, message):
    options = {"true": TRUE[0], "max_instances": N} | options
    options = {"pred": np.zeros(options["true"].shape, np.int32)} | options
    # TypeError: the run-time checks of the tests may be faster than our own message.
    with pytest.raises((ValueError, TypeError), match=message):
        match_instances(**options)


def test_unknown_policy():
    with pytest.raises(ValueError, match="empty must be one of"):
        ap_dsb2018(TRUE[0], PRED[0], max_instances=N, empty="perfect")
