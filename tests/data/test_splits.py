"""Splits: deterministic, disjoint, whole groups, close to their nominal sizes."""

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellml.data.splits import (
    N_FOLDS,
    TEST_FRACTION_OF,
    held_out_folds,
    named_splits,
    sha1_fraction,
    validation_ids,
)


def _cases(n_fluo=300, n_tissue=90, n_brightfield=10, group_size=4):
    """Images of which two thirds come in groups (of 4)."""
    modalities, groups = {}, {}
    for modality, count in (
        ("fluorescence", n_fluo),
        ("tissue", n_tissue),
        ("brightfield", n_brightfield),
    ):
        for number in range(count):
            name = f"{modality}_{number:04d}"
            modalities[name] = modality
            first = number - number % group_size
            groups[name] = f"{modality}_{first:04d}" if number < count * 2 // 3 else name
    return modalities, groups


def test_sha1_fraction_by_hand():
    # sha1("abc") is a9993e364706816aba3e...: the first 13 hexadecimal digits as a fraction
    assert sha1_fraction("abc") == 0xA9993E3647068 / 16**13
    digest = hashlib.sha1("µ".encode()).hexdigest()
    assert sha1_fraction("µ") == int(digest[:13], 16) / 16**13


def test_sha1_fraction_is_uniform():
    values = [sha1_fraction(str(number)) for number in range(4000)]
    assert 0 <= min(values) < max(values) < 1
    assert abs(sum(value < 0.15 for value in values) / 4000 - 0.15) < 0.02


def test_validation_takes_whole_groups_and_ignores_newcomers():
    modalities, groups = _cases()
    chosen = set(validation_ids(modalities, groups))
    assert 0.1 < len(chosen) / len(modalities) < 0.2
    for name, group in groups.items():
        assert (name in chosen) == (group in chosen)
    newcomers = [f"new_{number}" for number in range(50)]
    assert chosen == set(validation_ids([*modalities, *newcomers], groups)) - set(newcomers)


@pytest.mark.parametrize(("fraction", "share"), [(0.0, 0), (1.0, 1)])
def test_validation_extremes(fraction, share):
    modalities, groups = _cases()
    chosen = validation_ids(modalities, groups, fraction)
    assert len(chosen) == share * len(modalities)


@given(st.lists(st.integers(1, 12), max_size=60), st.sampled_from([(0.05, 1), (0.15, 6), (0.3, 1)]))
@settings(max_examples=60, deadline=None)
def test_folds_are_disjoint_and_keep_groups(sizes, nominal):
    fraction, n_folds = nominal
    groups = {f"{g}_{i}": f"{g}_0" for g, size in enumerate(sizes) for i in range(size)}
    folds = held_out_folds(groups, groups, fraction=fraction, n_folds=n_folds)
    assert len(folds) == n_folds
    together = sorted(name for fold in folds for name in fold)
    assert len(together) == len(set(together))
    assert set(together) <= set(groups)
    for fold in folds:
        names = set(fold)
        assert all((name in names) == (groups[name] in names) for name in groups)
        # a part takes a group as long as it has room for half of it, else the rest does; only where
        # nothing has room does a part grow further, which a fold of at most one group may
        assert len(fold) <= fraction * len(groups) + max(sizes, default=0)


def test_fold_sizes_and_halves():
    modalities, groups = _cases()
    splits = named_splits(modalities, groups)
    for name, count in (("fluo", 300), ("tissue", 90)):
        assert len(splits[name]) == count
        tested = []
        for percent, fraction in TEST_FRACTION_OF.items():
            folds = [f"/cv{n}" for n in range(1, N_FOLDS + 1)] if percent == 15 else [""]
            for fold in folds:
                train = splits[f"{name}_{percent}{fold}/train"]
                test = splits[f"{name}_{percent}{fold}/test"]
                assert not set(train) & set(test)
                assert sorted(train + test) == splits[name]
                assert not {groups[item] for item in train} & {groups[item] for item in test}
                assert abs(len(test) - fraction * count) <= 2
                tested += test if percent == 15 else []
        assert len(tested) == len(set(tested))
        assert abs(len(tested) - 0.9 * count) <= 2


def test_named_splits_cover_each_image_once():
    modalities, groups = _cases()
    splits = named_splits(modalities, groups)
    assert len(splits) == 3 + 2 * (1 + 2 + 2 * N_FOLDS + 2)
    assert sorted(splits["train"] + splits["validation"]) == splits["all"] == sorted(modalities)
    assert not any(name.startswith("brightfield") for name in splits["fluo"] + splits["tissue"])


def test_tests_hold_groups_and_single_images_in_proportion():
    modalities, groups = _cases()
    test = named_splits(modalities, groups)["fluo_30/test"]
    grouped = sum(sum(group == groups[name] for group in groups.values()) > 1 for name in test)
    assert abs(grouped / len(test) - 2 / 3) < 0.1


def test_order_of_the_arguments_does_not_matter():
    modalities, groups = _cases()
    turned = dict(reversed(list(modalities.items())))
    assert named_splits(turned, groups) == named_splits(modalities, groups)


def test_same_in_another_process_with_another_hash_seed():
    program = (
        "from cellml.data.splits import *; import hashlib;"
        "ids = {f'i{n}': 'tissue' if n % 3 else 'fluorescence' for n in range(200)};"
        "text = repr(sorted(named_splits(ids, {}).items()));"
        "print(hashlib.sha1(text.encode()).hexdigest())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(("fraction", "n_folds"), [(0.2, 6), (0.0, 1), (0.5, 0)])
def test_impossible_folds_are_refused(fraction, n_folds):
    with pytest.raises(ValueError, match="do not exist"):
        held_out_folds(["a"], {}, fraction=fraction, n_folds=n_folds)


def test_fraction_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        validation_ids(["a"], {}, 1.5)
