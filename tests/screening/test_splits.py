import collections

import numpy as np
import pytest

from cellml.screening import splits
from cellml.screening.leakage import leakage_report


def sides(split, groups):
    found = collections.defaultdict(set)
    for side, group in zip(split.tolist(), groups.tolist(), strict=True):
        found[group].add(side)
    return max(len(s) for s in found.values())


@pytest.fixture(scope="module")
def groups():
    """Two hundred compounds in groups of very different sizes."""
    return np.minimum(np.random.default_rng(0).geometric(0.05, 200), 60)


def test_grouped_folds_by_hand():
    groups = np.array([7, 7, 7, 3, 3, 9, 9, 1, 2])
    # 7 (three) to fold 0, 3 to 1, 9 to 2, 1 to 1 (first of the two smallest), 2 to 2
    np.testing.assert_array_equal(
        splits.grouped_folds(groups, n_folds=3), [0, 0, 0, 1, 1, 2, 2, 1, 2]
    )
    with pytest.raises(ValueError, match="the 5 groups"):
        splits.grouped_folds(groups, n_folds=6)


def test_splits_by_groups_put_no_group_on_two_sides(groups):
    made = {
        "folds": splits.grouped_folds(groups, n_folds=4),
        "balanced": splits.balanced_parts(groups, seed=2),
        "random": splits.random_folds(200, n_folds=4, seed=1, groups=groups),
        "parts": splits.random_parts(200, seed=1, groups=groups),
        "together": splits.keep_together(splits.random_folds(200, seed=0), groups),
    }
    for name, split in made.items():
        assert sides(split, groups) == 1, name
        assert len(np.unique(split)) >= 3, name
    assert sides(splits.random_folds(200, seed=0), groups) > 1
    sizes = np.bincount(made["folds"])
    assert sizes.max() - sizes.min() <= 2


def test_random_splits_have_their_sizes_and_follow_the_seed():
    folds = splits.random_folds(103, n_folds=5, seed=4)
    assert sorted(np.bincount(folds).tolist()) == [20, 20, 21, 21, 21]
    np.testing.assert_array_equal(folds, splits.random_folds(103, n_folds=5, seed=4))
    assert (folds != splits.random_folds(103, n_folds=5, seed=5)).any()
    parts = splits.random_parts(100, seed=4)
    assert np.bincount(parts).tolist() == [80, 10, 10]
    with pytest.raises(ValueError, match="sum to 1"):
        splits.random_parts(10, fractions=(0.5, 0.1, 0.1))


def chemprop_by_loops(groups, seed):
    """Large groups first, each part filled greedily; written down anew with plain lists."""
    import random

    members = {}
    for i, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(i)
    limit = 0.1 * len(groups) / 2
    big = [m for m in members.values() if len(m) > limit]
    small = [m for m in members.values() if len(m) <= limit]
    generator = random.Random(seed)
    generator.shuffle(big)
    generator.shuffle(small)
    train, validation, test = [], [], []
    for m in big + small:
        if len(train) + len(m) <= 0.8 * len(groups):
            train += m
        elif len(validation) + len(m) <= 0.1 * len(groups):
            validation += m
        else:
            test += m
    return train, validation, test


def test_balanced_parts_equal_plain_lists(groups):
    for seed in range(4):
        found = splits.balanced_parts(groups, seed=seed)
        for part, rows in enumerate(chemprop_by_loops(groups, seed)):
            assert set(np.flatnonzero(found == part)) == set(rows)


def test_clustered_folds_have_equal_sizes_and_follow_the_profiles():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0], [9, 0], [0, 9]])
    true = np.repeat([0, 1, 2], [10, 10, 11])
    profiles = centres[true] + rng.normal(size=(31, 2))
    folds = splits.clustered_folds(profiles, n_folds=3, seed=1)
    assert sorted(np.bincount(folds).tolist()) == [10, 10, 11]
    assert sides(folds, true) == 1
    profiles[7] = np.nan
    with pytest.raises(ValueError, match="the first is row 7"):
        splits.clustered_folds(profiles, n_folds=3)


def test_columns_name_folds():
    folds, names = splits.column_folds(["10", "2", " 2", "10"])
    assert names == ("2", "10")
    np.testing.assert_array_equal(folds, [1, 0, 0, 1])
    assert splits.column_folds(["train", "test"])[1] == ("test", "train")
    with pytest.raises(ValueError, match="row 1 names no fold"):
        splits.column_folds(["a", ""])


def test_codes_and_joined_groups():
    codes = splits.codes_of(["b", None, "a", "b", None])
    np.testing.assert_array_equal(codes, [0, 1, 2, 0, 3])
    # 0-1 by the first, 1-2 by the second; 3 stays alone though its number is 0 in both
    joined = splits.joined_groups(np.array([5, 5, 6, 0]), np.array([1, 7, 7, 0]))
    np.testing.assert_array_equal(joined, [0, 0, 0, 1])


def test_keep_together_goes_by_the_majority():
    split = np.array([0, 1, 1, 2, 0, -1, -1])
    groups = np.array([1, 1, 1, 2, 2, 2, 3])
    np.testing.assert_array_equal(splits.keep_together(split, groups), [1, 1, 1, 0, 0, 0, -1])


def test_leakage_by_hand():
    split = np.array([0, 0, 0, 1, 1, 2, -1])
    skeletons = np.array([4, 5, 4, 5, 6, 5, 6])
    nan = np.nan
    labels = np.array([[1, 0], [0, nan], [nan, 1], [1, 1], [0, nan], [nan, 0], [1, 1]])
    bits = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1], [1, 1, 1]])
    found = leakage_report(split, {"skeleton": skeletons}, labels=labels, fingerprints=bits)
    leak = found.identities["skeleton"]
    assert (leak.n_groups, leak.n_spanning, found.is_safe) == (3, 1, False)
    np.testing.assert_array_equal(leak.shared, [1, 1, 1])
    # assay 0: rows 1 and 3; assay 1: rows 3 and 5
    np.testing.assert_array_equal(leak.readouts_shared, [1, 2, 1])
    np.testing.assert_array_equal(found.n_compounds, [3, 2, 1])
    np.testing.assert_array_equal(found.n_readouts, [4, 3, 1])
    np.testing.assert_array_equal(found.n_hits, [2, 2, 0])
    np.testing.assert_array_equal(found.undefined_assays, [0, 1, 2])
    np.testing.assert_allclose(found.nearest_mean, [(2 / 3 + 1 + 1 / 3) / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(found.nearest_share[1.0], [1 / 3, 1 / 2, 0])
    safe = leakage_report(splits.keep_together(split, skeletons), {"skeleton": skeletons})
    assert safe.is_safe
    assert np.isnan(safe.nearest_mean).all()
    with pytest.raises(ValueError, match="no compound"):
        leakage_report(np.full(7, -1), {"skeleton": skeletons})
