"""Classes are balanced as DeepProfiler balances them, and a batch depends on its step alone."""

import itertools

import numpy as np
import pytest

from cellml.data.cell_batching import (
    balanced_rows,
    epoch_length,
    evaluation_batches,
    own_pixels,
    training_batches,
)
from cellml.data.cell_store import CellStore
from cellml.errors import UsageError


class FakeStore(CellStore):
    """A store whose cell r has the value r everywhere, and a mask of its left half."""

    channels = ("DNA", "ER", "mask")

    def __init__(self) -> None:
        """Reads nothing."""

    def read(self, rows, *, out=None):
        cells = np.broadcast_to(rows[:, None, None, None], (len(rows), 2, 2, 3)).astype(np.uint16)
        cells = cells.copy()
        cells[..., 2] = np.asarray([[9, 0], [9, 0]])
        return cells


@pytest.fixture(scope="module")
def classes():
    return np.repeat([0, 1, 2], [3, 6, 20])  # median 6


def test_each_class_gets_the_median_count_with_repeats_only_where_it_must(classes) -> None:
    rows = balanced_rows(classes, np.random.default_rng(0))
    assert len(rows) == epoch_length(classes) == 18
    assert list(np.bincount(classes[rows])) == [6, 6, 6]
    assert set(rows[classes[rows] == 1]) == set(range(3, 9))  # all of them, once
    assert len(set(rows[classes[rows] == 2])) == 6
    assert len(set(rows[classes[rows] == 0])) <= 3
    assert not np.array_equal(classes[rows], np.sort(classes[rows]))  # mixed
    other = balanced_rows(classes, np.random.default_rng(1))
    assert set(rows[classes[rows] == 2]) != set(other[classes[other] == 2])


def test_batches_follow_the_epochs_without_a_gap_and_resume_anywhere(classes) -> None:
    rows = 100 + np.arange(len(classes))
    batches = training_batches(FakeStore(), rows, classes, batch_size=4, seed=5)
    first = list(itertools.islice(batches(0), 9))  # two epochs of 18
    assert [batch["crops"].shape for batch in first] == [(4, 2, 2, 2)] * 9
    order = np.concatenate([batch["index"] for batch in first])
    for epoch in range(2):
        expected = rows[balanced_rows(classes, np.random.default_rng((5, epoch)))]
        np.testing.assert_array_equal(order[18 * epoch : 18 * epoch + 18], expected)
    later = next(batches(7))
    for name, value in first[7].items():
        np.testing.assert_array_equal(later[name], value)
    np.testing.assert_array_equal(later["target"], classes[later["index"] - 100])
    np.testing.assert_array_equal(later["crops"][:, 0, 0, 0], later["index"])


def test_evaluation_reads_every_row_once(classes) -> None:
    rows = np.arange(len(classes))
    found = list(evaluation_batches(FakeStore(), rows, classes, batch_size=8))
    assert [len(batch["index"]) for batch in found] == [8, 8, 8, 5]
    np.testing.assert_array_equal(np.concatenate([b["index"] for b in found]), rows)


def test_no_cells_is_an_error() -> None:
    with pytest.raises(ValueError, match="found none"):
        training_batches(FakeStore(), np.zeros(0, int), np.zeros(0, int), batch_size=2, seed=0)


def test_masks_are_taken_off_and_applied_on_request(classes) -> None:
    rows = np.arange(1, 4)
    batches = [
        next(evaluation_batches(FakeStore(), rows, classes[:3], batch_size=3, masked=masked))
        for masked in (False, True)
    ]
    assert [batch["crops"].shape for batch in batches] == [(3, 2, 2, 2)] * 2
    assert (batches[0]["crops"][2] == 3).all()
    np.testing.assert_array_equal(batches[1]["crops"][2, :, :, 1], [[3, 0], [3, 0]])
    with pytest.raises(UsageError, match="export them with --masks keep"):
        own_pixels(np.zeros((1, 2, 2, 2), np.uint8), ("DNA", "ER"), masked=True)
