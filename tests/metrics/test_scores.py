"""The host path: presets, empty images, inputs of any dtype, joining images."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cellml.metrics import DSB2018_THRESHOLDS, PRESETS, evaluate_labels, overlap_pairs, summarise
from tests.metrics import oracles

LEVELS = [Fraction(k, 20) for k in range(10, 20)]


def pair(seed, **options):
    rng = np.random.default_rng(seed)
    true = oracles.random_labels(rng, **options)
    return true, oracles.disturbed(rng, true)


PAIRS = [pair(seed) for seed in range(8)]
NOTHING = np.zeros((20, 27), np.uint16)


def assert_same(a, b, *, ignore=()):
    for name, value in vars(a).items():
        if name not in ignore:
            np.testing.assert_equal(getattr(b, name), value, err_msg=name)


@pytest.mark.parametrize("preset", PRESETS)
def test_counts_equal_loops(preset):
    for true, pred in PAIRS:
        found = evaluate_labels(true, pred, preset=preset)
        strict = PRESETS[preset].strict
        expected = [oracles.match_counts(true, pred, t, strict) for t in LEVELS]
        np.testing.assert_array_equal(np.stack([found.tp, found.fp, found.fn], 1), expected)
        assert found.aji == pytest.approx(oracles.aji(true, pred))


def test_low_thresholds_need_an_assignment():
    levels = [0.1, 0.2, 0.3, 0.4]
    ambiguous = 0
    for true, pred in PAIRS:
        found = evaluate_labels(true, pred, preset="stardist", thresholds=levels)
        exact = [Fraction(k, 10) for k in range(1, 5)]
        assert found.tp.tolist() == [
            oracles.match_counts(true, pred, t, strict=False)[0] for t in exact
        ]
        pairs = sum(iou >= exact[0] for iou in oracles.iou_matrix(true, pred).values())
        ambiguous += pairs - found.tp[0]
    assert ambiguous > 0


def test_assignment_takes_most_matches_then_largest_iou():
    # Four strips in a row; cutting at other places gives a chain of pairs.
    true, pred = np.zeros((1, 24), int), np.zeros((1, 24), int)
    true[0, 0:6], true[0, 6:16] = 1, 2
    pred[0, 3:12], pred[0, 12:16] = 1, 2
    # IoU: (1, 1) 3/12, (2, 1) 6/13, (2, 2) 4/10. Greedy would take 6/13 and then nothing.
    found = evaluate_labels(true, pred, preset="cellpose", thresholds=[0.2, 0.45])
    assert found.tp.tolist() == [2, 1]
    np.testing.assert_allclose(found.mean_matched_iou, [(1 / 4 + 4 / 10) / 2, 6 / 13])
    # One prediction on two true instances, 3/10 and 4/10 of it: one match either way.
    true, pred = np.zeros((1, 10), int), np.ones((1, 10), int)
    true[0, :3], true[0, 3:7] = 1, 2
    found = evaluate_labels(true, pred, preset="cellpose", thresholds=[0.25])
    assert (found.tp[0], found.mean_matched_iou[0]) == (1, 0.4)


def test_nucleaizer_below_half_counts_true_instances_that_are_hit():
    true, pred = np.zeros((1, 20), int), np.ones((1, 20), int)
    true[0, :10], true[0, 10:] = 1, 2
    found = evaluate_labels(true, pred, preset="nucleaizer", thresholds=[0.4, 0.5])
    assert (found.tp.tolist(), found.fp.tolist(), found.fn.tolist()) == ([2, 0], [-1, 1], [0, 2])


def test_exactly_half():
    true, pred = np.zeros((4, 9), int), np.zeros((4, 9), int)
    true[0, :8] = 1
    pred[0, :4], pred[0, 4:8] = 1, 2
    tp = {name: evaluate_labels(true, pred, preset=name).tp[0] for name in PRESETS}
    assert tp == {"kaggle": 0, "nucleaizer": 0, "stardist": 1, "cellpose": 1}
    assert evaluate_labels(true, pred, preset="stardist").sq == 0.5


def test_by_hand():
    true = np.zeros((4, 10), np.int32)
    pred = true.copy()
    true[0, :5], true[2, :4] = 1, 2
    pred[0, :4], pred[2, 4:8], pred[3, :2] = 3, 1, 2
    found = evaluate_labels(true, pred)
    assert (found.n_true, found.n_pred) == (2, 3)
    assert found.tp.tolist() == [1] * 6 + [0] * 4
    assert found.ap_dsb2018 == pytest.approx(6 / 40)
    assert found.precision[0] == pytest.approx(1 / 3)
    assert found.recall[0] == pytest.approx(1 / 2)
    assert (found.sq, found.rq, found.pq) == pytest.approx((0.8, 2 / 5, 0.32))
    assert found.mean_matched_iou[0] == pytest.approx(0.8)
    assert found.aji == pytest.approx(4 / 15)
    assert evaluate_labels(true, pred, preset="cellpose").ap_dsb2018 == pytest.approx(7 / 40)


def test_pq_does_not_depend_on_the_thresholds():
    true, pred = PAIRS[0]
    found = evaluate_labels(true, pred, thresholds=[0.8])
    assert found.pq == evaluate_labels(true, pred).pq
    assert found.ap.shape == (1,)


def test_arange_thresholds_are_taken_for_decimals():
    true, pred = np.ones((1, 20), int), np.ones((1, 20), int)
    pred[0, :8] = 0  # IoU 0.6; arange gives 0.6000000000000001
    drifted = evaluate_labels(true, pred, preset="cellpose", thresholds=np.arange(0.5, 1, 0.05))
    assert drifted.tp.tolist() == [1] * 3 + [0] * 7
    assert drifted.thresholds.tolist() == list(DSB2018_THRESHOLDS)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int64, np.uint64, np.float32, np.float64]
)
def test_any_dtype_and_any_ids(dtype):
    true, pred = PAIRS[1]
    expected = evaluate_labels(true, pred)
    assert_same(evaluate_labels(true.astype(dtype), pred.astype(dtype)), expected)
    if np.dtype(dtype).itemsize > 1:
        spread = evaluate_labels((true * 997).astype(dtype), (pred * 2003).astype(dtype))
        assert_same(spread, expected, ignore=("sums",))
        np.testing.assert_allclose(spread.sums, expected.sums)


def test_huge_ids_and_many_instances():
    rng = np.random.default_rng(3)
    # Every pixel an instance: too many for a dense table.
    true = (np.arange(1, 60 * 80 + 1) * 2**33).reshape(60, 80)
    pred = true.copy()
    pred[30:] = rng.permutation(true[30:].ravel()).reshape(30, 80)
    pred[-1] = 0
    found = evaluate_labels(true, pred)
    # Matching goes by place: every predicted pixel finds the true one below it, whatever its id.
    assert (found.n_true, found.n_pred, found.tp[-1]) == (4800, 4720, 4720)


def test_images_without_background():
    found = evaluate_labels(np.full((3, 4), 5), np.full((3, 4), 9))
    assert (found.n_true, found.n_pred, found.ap_dsb2018, found.aji) == (1, 1, 1.0, 1.0)
    huge = np.full((3, 4), 2**63 + 5, np.uint64)
    assert evaluate_labels(huge, huge - huge.dtype.type(2**62)).ap_dsb2018 == 1
    pairs = overlap_pairs(np.full((3, 4), 2**40), np.zeros((3, 4), int))
    assert (pairs.area_true.tolist(), pairs.area_pred.tolist()) == ([12], [])
    assert not pairs.row.size


def test_volumes():
    true, pred = (np.stack(side) for side in zip(*PAIRS[:2], strict=True))
    assert_same(
        evaluate_labels(true, pred), evaluate_labels(true.reshape(40, 27), pred.reshape(40, 27))
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("empty", "value"), [("one", 1.0), ("zero", 0.0), ("nan", np.nan)])
def test_empty_images_follow_the_policy(preset, empty, value):
    found = evaluate_labels(NOTHING, NOTHING, preset=preset, empty=empty)
    rates = [found.ap_dsb2018, found.pq, found.sq, found.rq, found.aji, *found.ap, *found.precision]
    np.testing.assert_equal(rates, [value] * len(rates))
    assert found.n_undefined == (empty == "nan")
    true, _ = PAIRS[0]
    for a, b in ((true, NOTHING), (NOTHING, true)):
        assert evaluate_labels(a, b, preset=preset, empty=empty).ap_dsb2018 == 0


def test_presets_name_their_policy():
    found = {name: evaluate_labels(NOTHING, NOTHING, preset=name).ap_dsb2018 for name in PRESETS}
    np.testing.assert_equal(
        found, {"kaggle": np.nan, "nucleaizer": np.nan, "stardist": 0.0, "cellpose": np.nan}
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_missing_predictions_miss_everything(preset):
    true, _ = PAIRS[0]
    found = evaluate_labels(true, None, preset=preset)
    assert_same(found, evaluate_labels(true, NOTHING, preset=preset), ignore=("n_missing",))
    assert (found.n_missing, found.fn[0], found.tp[0]) == (1, found.n_true, 0)
    # No reward for an image that was not predicted, even if there was nothing to find.
    assert evaluate_labels(NOTHING, None, preset=preset, empty="one").ap_dsb2018 == 0


def test_zero_pixels():
    found = evaluate_labels(np.zeros((0, 4), int), np.zeros((0, 4), int), empty="one")
    assert (found.n_true, found.n_pred, found.ap_dsb2018) == (0, 0, 1.0)


def test_summary_per_image():
    scores = [evaluate_labels(t, p) for t, p in PAIRS[:3]]
    blank, missed = evaluate_labels(NOTHING, NOTHING), evaluate_labels(PAIRS[3][0], None)
    found = summarise([*scores, blank, missed], "kaggle")
    assert found.ap_dsb2018 == pytest.approx(sum(s.ap_dsb2018 for s in scores) / 4)
    assert found.pq == pytest.approx(sum(s.pq for s in scores) / 4)
    np.testing.assert_allclose(found.recall, sum(s.recall for s in scores) / 4)
    assert (found.n_images, found.n_missing, found.n_undefined) == (5, 1, 1)
    assert found.fn[0] == sum(s.fn[0] for s in scores) + missed.n_true
    assert np.isnan(summarise([blank, blank]).ap_dsb2018)
    assert summarise(scores[:1]).ap_dsb2018 == scores[0].ap_dsb2018


def test_summary_pooled():
    scores = [evaluate_labels(t, p, preset="stardist") for t, p in PAIRS]
    found = summarise([*scores, evaluate_labels(NOTHING, NOTHING, preset="stardist")])
    tp, fp, fn = (sum(getattr(s, f) for s in scores) for f in ("tp", "fp", "fn"))
    np.testing.assert_allclose(found.ap, tp / (tp + fp + fn))
    np.testing.assert_allclose(found.f1, 2 * tp / (2 * tp + fp + fn))
    assert found.ap_dsb2018 == pytest.approx(np.mean(tp / (tp + fp + fn)))
    # One wide image that holds all images side by side has the pooled scores.
    wide = [
        np.concatenate([labels + 100 * i * (labels > 0) for i, labels in enumerate(side)], 1)
        for side in zip(*PAIRS, strict=True)
    ]
    whole = evaluate_labels(*wide, preset="stardist")
    np.testing.assert_allclose(found.sums, whole.sums)
    for name in ("pq", "sq", "rq", "aji", "ap_dsb2018"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name))
    blank = [evaluate_labels(NOTHING, NOTHING, preset="stardist", empty="one")] * 2
    assert summarise(blank).ap_dsb2018 == 1


def test_summary_refuses_a_mixture():
    true, pred = PAIRS[0]
    kaggle = evaluate_labels(true, pred)
    with pytest.raises(ValueError, match="at least one image"):
        summarise([])
    with pytest.raises(ValueError, match="scores were made with"):
        summarise([kaggle, evaluate_labels(true, pred, preset="cellpose")])
    with pytest.raises(ValueError, match="expected stardist"):
        summarise([kaggle], "stardist")
    with pytest.raises(ValueError, match="differ in thresholds"):
        summarise([kaggle, evaluate_labels(true, pred, thresholds=[0.5])])


def test_json():
    found = json.loads(json.dumps(evaluate_labels(NOTHING, NOTHING).as_dict(), allow_nan=False))
    assert (found["preset"], found["ap_dsb2018"], found["tp"]) == ("kaggle", None, [0] * 10)


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        (NOTHING, NOTHING.T, r"\(20, 27\) but pred has shape \(27, 20\)"),
        (NOTHING, NOTHING - 1.5, r"pred must hold whole labels, found -1.5"),
        (NOTHING + np.float32("nan"), NOTHING, r"true must hold whole labels, found nan"),
        (NOTHING, NOTHING.astype(np.float16) + np.float16("inf"), r"found inf"),
        (NOTHING.astype(int) - 3, NOTHING, r"true must hold labels >= 0, found -3"),
        (NOTHING - 2.0, None, r"true must hold labels >= 0, found -2"),
        (NOTHING.astype(complex), NOTHING, r"integer or float labels, found complex128"),
    ],
)
def test_refuses_images(true, pred, message):
    with pytest.raises(ValueError, match=message):
        evaluate_labels(true, pred)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "coco"}, "preset must be one of"),
        ({"empty": "maybe"}, "'maybe'"),
        ({"thresholds": []}, "thresholds must be"),
        ({"thresholds": [0.0, 0.5]}, "thresholds must be"),
        ({"thresholds": [float("nan")]}, "thresholds must be"),
        ({"thresholds": [0.4, 0.5]}, "one-to-one from threshold 0.5 on; found 0.4"),
    ],
)
def test_refuses_options(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        evaluate_labels(NOTHING, NOTHING, **options)


small = arrays(np.int32, (5, 7), elements=st.integers(0, 4))


@settings(max_examples=60, deadline=None)
@given(small, small, st.sampled_from([0.3, 0.5, 0.55, 0.75, 1.0]))
def test_any_small_image(true, pred, level):
    """Tiny images are full of ties and of instances in pieces."""
    found = evaluate_labels(true, pred, preset="cellpose", thresholds=[level])
    exact = Fraction(str(level))
    expected = oracles.match_counts(true, pred, exact, strict=False)
    assert (found.tp[0], found.fp[0], found.fn[0]) == expected
    swapped = evaluate_labels(pred, true, preset="cellpose", thresholds=[level])
    assert (swapped.tp[0], swapped.fp[0], swapped.fn[0]) == (found.tp[0], found.fn[0], found.fp[0])
    if found.n_true and found.n_pred:
        assert found.aji == pytest.approx(oracles.aji(true, pred))
        assert 0 <= found.pq <= found.rq <= 1


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_stardist(seed):
    matching = pytest.importorskip("stardist.matching")
    images = [pair(10 * seed + k, shape=(60, 70), n=40, spacing=3) for k in range(3)]
    true, pred = ([p[side] for p in images] for side in (0, 1))
    levels = [0.2, 0.4, *DSB2018_THRESHOLDS]
    expected = matching.matching_dataset(true, pred, thresh=levels, show_progress=False)
    found = summarise(
        [evaluate_labels(*p, preset="stardist", thresholds=levels) for p in images], "stardist"
    )
    assert [(e.tp, e.fp, e.fn) for e in expected] == list(
        zip(found.tp, found.fp, found.fn, strict=True)
    )
    np.testing.assert_allclose(found.ap, [e.accuracy for e in expected], rtol=1e-6)
    np.testing.assert_allclose(found.f1, [e.f1 for e in expected], rtol=1e-6)
    np.testing.assert_allclose(
        found.mean_matched_iou, [e.mean_matched_score for e in expected], rtol=1e-6
    )
    assert found.pq == pytest.approx(expected[2].panoptic_quality, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_cellpose(seed):
    metrics = pytest.importorskip("cellpose.metrics")
    images = [pair(10 * seed + k, shape=(60, 70), n=40) for k in range(3)]
    true, pred = ([p[side] for p in images] for side in (0, 1))
    levels = [0.2, 0.4, *DSB2018_THRESHOLDS]
    ap, *counts = metrics.average_precision(true, pred, threshold=levels)
    found = [evaluate_labels(*p, preset="cellpose", thresholds=levels) for p in images]
    np.testing.assert_array_equal([[f.tp, f.fp, f.fn] for f in found], np.stack(counts, 1))
    np.testing.assert_allclose([f.ap for f in found], ap, rtol=1e-6)
    assert summarise(found).ap_dsb2018 == pytest.approx(float(ap.mean()), rel=1e-6)
