import numpy as np
import pandas as pd
import pycytominer
import pytest
from pycytominer.cyto_utils import Blocklist

from cellml.profiling.select import (
    BLOCKLIST,
    DEFAULT_RULES,
    keep_bounded,
    keep_complete,
    keep_frequent,
    keep_reproducible,
    keep_uncorrelated,
    keep_varying,
    pairwise_correlation,
    select_features,
)


def table(seed=0, n=60):
    """Twelve features, most of which some rule drops."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12))
    x[:, 1] = x[:, 0] + 0.1 * rng.normal(size=n)  # correlated
    x[:, 2] = -x[:, 0]  # correlated the other way: stays
    x[:, 3] = 0.1  # constant
    x[:, 4] = 1 + 1e-5 * x[:, 4]  # varies too little
    x[:10, 5] = np.nan
    x[3, 6] = -700.0
    x[:, 7] = np.where(np.arange(n) < 58, 2.0, x[:, 7])  # nearly always one value
    x[:, 8] = x[:, 1] + 0.1 * rng.normal(size=n)
    x[0, 9] = np.nan
    return x


NAMES = [f"Cells_{i}" for i in range(12)]


def test_rules_by_hand():
    x = table()
    dropped = {
        "variance": np.flatnonzero(~keep_varying(x)).tolist(),
        "missing": np.flatnonzero(~keep_complete(x)).tolist(),
        "bounded": np.flatnonzero(~keep_bounded(x)).tolist(),
        "frequent": np.flatnonzero(~keep_frequent(x)).tolist(),
    }
    assert dropped == {"variance": [3, 4], "missing": [5], "bounded": [6], "frequent": [3, 7]}


def test_of_a_correlated_pair_the_more_connected_goes():
    x = table()[:, [0, 1, 8, 10]]
    strength = np.abs(np.corrcoef(x.T)).sum(0)
    keep = keep_uncorrelated(x)
    assert keep.sum() == 2
    assert keep[3]
    assert np.argmin(strength[:3]) == np.flatnonzero(keep)[0]
    np.testing.assert_array_equal(keep_uncorrelated(table()[:, [0, 2]]), [True, True])


def test_correlation_equals_numpy_and_pairwise_loops():
    x = table()[:, [0, 1, 2, 5, 9, 3]]
    found = pairwise_correlation(x)
    for i in range(5):
        for j in range(5):
            both = ~np.isnan(x[:, i]) & ~np.isnan(x[:, j])
            expected = np.corrcoef(x[both, i], x[both, j])[0, 1]
            assert found[i, j] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(found[5]).all()  # constant
    np.testing.assert_allclose(pairwise_correlation(x[:, :3]), np.corrcoef(x[:, :3].T), rtol=1e-12)


def test_noise_within_replicates():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(12), 5)
    x = np.stack([rng.normal(size=60), np.repeat(rng.normal(size=12), 5)], 1)
    np.testing.assert_array_equal(keep_reproducible(x * 1.5, groups), [False, True])
    np.testing.assert_array_equal(keep_reproducible(x * 0.1, groups), [True, True])


def test_rules_run_one_after_the_other():
    x = table()
    keep, dropped = select_features(
        x, NAMES, blocklist=["Cells_11", "Nuclei_1"], groups=np.arange(60) // 5
    )
    assert dropped["variance_threshold"] == ("Cells_3", "Cells_4")
    assert dropped["blocklist"] == ("Cells_11",)
    assert dropped["drop_na_columns"] == ("Cells_5",)
    assert dropped["drop_outliers"] == ("Cells_6",)
    assert sorted(np.array(NAMES)[~keep]) == sorted(sum(dropped.values(), ()))
    options = {"drop_outliers": {"max_absolute": 1000.0}}
    assert select_features(x, NAMES, options=options)[0][6]


def test_errors():
    x = table()
    with pytest.raises(ValueError, match="found 12 names for 11 features"):
        select_features(x[:, 1:], NAMES)
    with pytest.raises(ValueError, match="rule must be one of"):
        select_features(x, NAMES, rules=["variance"])
    with pytest.raises(ValueError, match="needs groups"):
        select_features(x, NAMES, rules=["noise_removal"])
    with pytest.raises(ValueError, match="max_correlation"):
        keep_uncorrelated(x, max_correlation=1.5)
    x[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        keep_uncorrelated(x)


def test_the_blocklist_is_pycytominers_and_is_used_by_default():
    assert set(BLOCKLIST) == set(Blocklist("default").to_list())
    assert len(BLOCKLIST) == len(set(BLOCKLIST)) == 55
    x = np.random.default_rng(0).normal(size=(30, 3))
    names = ["Nuclei_Granularity_14_ER", "Nuclei_Granularity_13_ER", "Cells_Correlation_RWC_ER_DNA"]
    keep, dropped = select_features(x, names)
    assert dropped["blocklist"] == ("Nuclei_Granularity_14_ER",)
    assert keep.tolist() == [False, True, True]
    kept = pycytominer.feature_select(
        pd.DataFrame(x, columns=names), features=names, operation=list(DEFAULT_RULES)
    )
    assert list(kept.columns) == names[1:]
    assert select_features(x, names, blocklist=())[0].all()


RULES = ["variance_threshold", "correlation_threshold", "drop_na_columns", "drop_outliers",
         "frequency_threshold", "blocklist", "noise_removal"]  # fmt: skip


@pytest.mark.parametrize("rules", [*([r] for r in RULES), RULES, RULES[::-1]], ids="+".join)
def test_pycytominer_agrees(rules):
    x = np.concatenate([table(), np.random.default_rng(3).normal(size=(60, 30))], 1)
    x[:, 20:] += x[:, :1] * np.linspace(0, 9, 22)  # a cloud of correlated features
    names = [f"Cells_{i}" for i in range(42)]
    frame = pd.DataFrame(x, columns=names).assign(Metadata_group=np.arange(60) // 5)
    kept = pycytominer.feature_select(
        frame, features=names, operation=rules, blocklist=["Cells_11"],
        noise_removal_perturb_groups="Metadata_group", noise_removal_stdev_cutoff=0.95,
    )  # fmt: skip
    keep, _ = select_features(
        x, names, rules=rules, blocklist=["Cells_11"], groups=np.arange(60) // 5,
        options={"noise_removal": {"max_sd": 0.95}},
    )  # fmt: skip
    assert [n for n, k in zip(names, keep, strict=True) if k] == list(kept.columns[:-1])
