import numpy as np
import pytest

from cellml.metrics import paired_bootstrap

DELTAS = np.random.default_rng(0).normal(0.3, 1.0, 200)


def test_close_to_the_normal_interval():
    found = paired_bootstrap(1, DELTAS, n=4000, level=0.9)
    half = 1.645 * DELTAS.std() / np.sqrt(DELTAS.size)
    assert found.mean == pytest.approx(DELTAS.mean())
    assert found.low == pytest.approx(DELTAS.mean() - half, abs=0.15 * half)
    assert found.high == pytest.approx(DELTAS.mean() + half, abs=0.15 * half)


def test_two_pairs_by_hand():
    # The mean of two draws is -1, 1 or 3 with chances 1/4, 1/2, 1/4.
    found = paired_bootstrap(0, [-1.0, 3.0], n=2000, level=0.4)
    assert (found.mean, found.low, found.high, found.share_worse) == (1.0, 1.0, 1.0, 0.5)
    found = paired_bootstrap(0, [-1.0, 3.0], n=2000, level=0.6)
    assert (found.low, found.high, found.n_pairs) == (-1.0, 3.0, 2)


def test_seed_decides():
    assert paired_bootstrap(3, DELTAS) == paired_bootstrap(3, DELTAS)
    assert paired_bootstrap(3, DELTAS) != paired_bootstrap(4, DELTAS)


def test_ties_are_not_worse():
    assert paired_bootstrap(0, [0.0, 0.0, -1.0, 1.0]).share_worse == 0.25


def test_more_values_than_a_block_holds():
    found = paired_bootstrap(0, np.full(2**21 + 1, 2.5), n=2)
    assert (found.low, found.high) == (2.5, 2.5)


@pytest.mark.parametrize(
    ("deltas", "options", "message"),
    [
        ([], {}, "non-empty"),
        ([[1.0]], {}, "shape"),
        ([0.0, np.nan], {}, r"deltas\[1\] is nan"),
        ([1.0], {"n": 0}, "n >= 1"),
        ([1.0], {"level": 1.0}, "level"),
    ],
)
def test_refuses(deltas, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(0, deltas, **options)
