import csv

import numpy as np
import pytest
from scipy import stats

from cellml.data.assay_tables import read_assays
from cellml.metrics.assay_summary import (
    above,
    assay_overlap,
    count_above,
    count_by_type,
    count_curve,
    over_folds,
)
from cellml.metrics.predictor_tests import compare_predictors, score_by_similarity
from cellml.screening.fusion import best_of

SINGLES = {"CS": "cp_es_op", "GE": "ge_es_op", "MO-BC": "mobc_es_op"}
FUSIONS = {
    "CS+GE": "late_fusion_cs_ge",
    "CS+MO": "late_fusion_cs_mobc",
    "GE+MO": "late_fusion_ge_mobc",
    "all": "late_fusion_cs_ge_mobc",
}
PARTS = {
    "CS+GE": ("CS", "GE"),
    "CS+MO": ("CS", "MO-BC"),
    "GE+MO": ("GE", "MO-BC"),
    "all": ("CS", "GE", "MO-BC"),
}


@pytest.fixture(scope="module")
def published(shared_data) -> dict[str, np.ndarray]:
    """Median AUROC of the 270 assays by predictor."""
    folder = shared_data / "activity" / "moshkov_natcomm2023" / "predictions"
    columns: dict[str, dict[str, float]] = {}
    with (folder / "scaffold_median_AUC.csv").open() as file:
        for row in csv.DictReader(file):
            value = float(row["auc"]) if row["auc"] not in ("", "NA") else np.nan
            columns.setdefault(row["descriptor"], {})[row["assay_id"]] = value
    assays = list(columns["cp_es_op"])
    names = {**SINGLES, **FUSIONS, "CS-MF": "cpcl_es_op"}
    return {
        "assays": np.array(assays),
        **{k: np.array([columns[v][a] for a in assays]) for k, v in names.items()},
    }


def test_the_studys_table_follows_from_the_published_scores(published):
    counts = {name: count_above(v) for name, v in published.items() if name != "assays"}
    assert all(c.n_assays == 270 for c in counts.values())
    assert all(c.n_undefined == 1 for c in counts.values())
    order = [*SINGLES, *FUSIONS]
    assert [counts[name].above[0.9] for name in order] == [16, 19, 28, 18, 31, 28, 28]
    assert [counts[name].above[0.7] for name in order] == [102, 71, 102, 109, 124, 108, 117]
    unions, with_fusion, with_fusion_70 = [], [], []
    for fusion, parts in PARTS.items():
        passed = {name: above(published[name], 0.9) for name in parts}
        unions.append(assay_overlap(passed).union)
        best = best_of(np.stack([published[name] for name in (*parts, fusion)])).value
        with_fusion.append(count_above(best).above[0.9])
        with_fusion_70.append(count_above(best).above[0.7])
    assert unions == [33, 41, 41, 52]
    assert with_fusion == [37, 44, 48, 57]
    assert with_fusion_70 == [151, 157, 139, 174]


def test_means_over_the_32_dense_assays_are_the_published_ones(published, shared_data):
    path = shared_data / "activity" / "broad270" / "broad6k_32assays_folds0-3.csv.gz"
    dense = np.isin(published["assays"], read_assays(path).names)
    assert dense.sum() == 32
    means = [count_above(published[name][dense]).mean for name in ("CS-MF", "CS", "MO-BC", "CS+MO")]
    np.testing.assert_allclose(means, [0.680, 0.700, 0.713, 0.741], atol=6e-4)


def test_overlap_of_the_published_singles_adds_up(published):
    found = assay_overlap({name: above(published[name], 0.9) for name in SINGLES})
    assert sum(found.exclusive.values()) == found.union == 52
    assert found.single == {"CS": 16, "GE": 19, "MO-BC": 28}
    for name in SINGLES:
        inside = sum(n for some, n in found.exclusive.items() if name in some)
        assert inside == found.single[name]


def test_over_folds_equals_loops_and_leaves_out_what_is_undefined():
    rng = np.random.default_rng(0)
    values = rng.random((9, 5))
    values[rng.random((9, 5)) < 0.4] = np.nan
    values[0] = np.nan
    values[1, 1:] = np.nan
    found = over_folds(values)
    assert found.n_defined[0] == 0
    assert np.isnan([found.mean[0], found.median[0], found.sd[0]]).all()
    for i, row in enumerate(values[1:], 1):
        there = row[~np.isnan(row)]
        assert found.n_defined[i] == there.size
        assert found.mean[i] == pytest.approx(np.mean(there))
        assert found.median[i] == pytest.approx(np.median(there))
        if there.size > 1:
            assert found.sd[i] == pytest.approx(np.std(there, ddof=1))
    assert found.n_defined.min() == 0
    assert found.n_defined.max() >= 4


def test_counts_are_strict_and_undefined_assays_fail():
    values = np.array([0.5, 0.7, 0.71, 0.9, 0.95, np.nan])
    found = count_above(values)
    assert found.above == {0.5: 4, 0.7: 3, 0.9: 1}
    assert (found.n_assays, found.n_undefined) == (6, 1)
    assert found.mean == pytest.approx(0.752)
    curve = count_curve(values, np.array([0.9, 0.0, 0.7, 1.0]))
    np.testing.assert_array_equal(curve, [1, 5, 3, 0])
    np.testing.assert_array_equal(above(values, 0.7), [0, 0, 1, 1, 1, 0])
    types = count_by_type(values, ["a", "b", "b", "b", "a", "c"])
    assert list(types) == ["b", "a", "c"]
    assert types["a"].above[0.9] == 1
    assert types["c"].n_undefined == 1
    assert np.isnan(types["c"].mean)
    with pytest.raises(ValueError, match="types"):
        count_by_type(values, ["a"])


def test_overlap_by_hand():
    passed = {
        "a": np.array([1, 1, 0, 0, 1], bool),
        "b": np.array([1, 0, 1, 0, 1], bool),
        "c": np.array([1, 0, 0, 0, 0], bool),
    }
    found = assay_overlap(passed)
    assert list(found.exclusive)[:4] == [("a",), ("b",), ("c",), ("a", "b")]
    assert found.exclusive == {
        ("a",): 1,
        ("b",): 1,
        ("c",): 0,
        ("a", "b"): 1,
        ("a", "c"): 0,
        ("b", "c"): 0,
        ("a", "b", "c"): 1,
    }
    assert (found.union, found.intersection) == (4, 1)
    with pytest.raises(ValueError, match="same assays"):
        assay_overlap({"a": np.ones(2, bool), "b": np.ones(3, bool)})


def test_predictors_are_compared_assay_by_assay():
    rng = np.random.default_rng(0)
    first = rng.random(30)
    second = first + rng.normal(0.1, 0.1, 30)
    second[:2] = np.nan
    second[2] = first[2]
    found = compare_predictors(first, second, n_resamples=500)
    delta = (second - first)[2:]
    assert (found.n_assays, found.better) == (28, (delta > 0).sum())
    assert found.worse == (delta < 0).sum() == 28 - 1 - found.better
    assert found.difference.low < found.difference.mean < found.difference.high
    assert found.difference.mean == pytest.approx(delta.mean())
    expected = stats.wilcoxon(delta, zero_method="pratt", method="approx").pvalue
    assert found.p_value == pytest.approx(expected)
    assert found.p_value < 0.01
    back = compare_predictors(second, first, n_resamples=500)
    assert back.p_value == pytest.approx(found.p_value)
    assert back.better == found.worse
    assert compare_predictors(first, first, n_resamples=10).p_value == 1
    with pytest.raises(ValueError, match="both predictors"):
        compare_predictors(first, np.full(30, np.nan))


def test_strata_of_similarity_divide_the_compounds():
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.4).astype(np.float32)
    nearest = rng.random(60).astype(np.float32) * 0.6
    scores = np.where(nearest[:, None] > 0.3, labels, 1 - labels).astype(np.float32)
    low, high, none = score_by_similarity(labels, scores, nearest, edges=(0.0, 0.3, 0.6, 1.0))
    assert low.n_compounds + high.n_compounds == 60
    assert none.n_compounds == 0
    np.testing.assert_array_equal(low.auroc, [0, 0])
    np.testing.assert_array_equal(high.auroc, [1, 1])
    assert np.isnan(none.auroc).all()
    np.testing.assert_array_equal(low.n_tested + high.n_tested, [60, 60])
    with pytest.raises(ValueError, match="similarities must lie"):
        score_by_similarity(labels, scores, nearest, edges=(0.0, 0.1))
