"""No scheme may let cross what it promises to keep apart; planted leaks are found."""

import numpy as np
import pyarrow as pa
import pytest

from cellml.data.cell_splits import (
    Cells,
    CellSplit,
    by_column,
    find_leakage,
    leave_cells_out,
    leave_plates_out,
    leave_treatments_out,
)
from cellml.data.coded_columns import Coded, code_column, code_texts
from cellml.errors import UsageError


@pytest.fixture(scope="module")
def cells() -> Cells:
    rng = np.random.default_rng(0)
    plate, well, site, treatment = [], [], [], []
    for p in range(3):
        for w in range(4):
            for _ in range(rng.integers(5, 12)):
                plate.append(f"0{p}")
                well.append(f"A0{w}")
                site.append(str(rng.integers(1, 3)))
                treatment.append(f"T{(w + p) % 4}")
    names = [code_texts(column) for column in (plate, well, site, treatment)]
    return Cells(*names, centre_yx=rng.random((len(plate), 2)) * 200)


def texts(column: Coded) -> np.ndarray:
    return np.asarray([*column.names, None], object)[column.codes]


def covers(split: CellSplit, cells: Cells) -> bool:
    together = np.sort(np.concatenate(split))
    return np.array_equal(together, np.arange(len(cells.plate)))


def test_plates_left_out_share_no_plate(cells) -> None:
    split = leave_plates_out(cells, ["01"])
    assert covers(split, cells)
    assert set(texts(cells.plate)[split.validation]) == {"01"}
    leakage = find_leakage(cells, split, side_px=50)
    assert leakage == (0, 0, 0, 0, 0.0)


def test_cells_left_out_share_wells_but_no_cell(cells) -> None:
    split = leave_cells_out(cells, fraction=0.6, seed=3)
    assert covers(split, cells)
    leakage = find_leakage(cells, split, side_px=50)
    assert (leakage.plates, leakage.wells, leakage.cells) == (3, 12, 0)
    plates, wells = texts(cells.plate), texts(cells.well)
    for p, w in set(zip(plates, wells, strict=True)):
        own = np.flatnonzero((plates == p) & (wells == w))
        assert np.isin(own, split.train).sum() == round(0.6 * len(own))
    again = leave_cells_out(cells, fraction=0.6, seed=3)
    np.testing.assert_array_equal(split.train, again.train)
    assert not np.array_equal(split.train, leave_cells_out(cells, seed=4).train)


def test_overlapping_crops_are_counted_as_a_loop_counts_them(cells) -> None:
    split = leave_cells_out(cells, seed=1)
    overlapping, columns = 0, [texts(column) for column in cells[:3]]
    for v in split.validation:
        for t in split.train:
            same = all(column[v] == column[t] for column in columns)
            if same and np.abs(cells.centre_yx[v] - cells.centre_yx[t]).max() < 50:
                overlapping += 1
                break
    assert 0 < overlapping < len(split.validation)
    found = find_leakage(cells, split, side_px=50).overlapping
    assert found == pytest.approx(overlapping / len(split.validation))


def test_treatments_left_out_are_neither_trained_on_nor_validated(cells) -> None:
    split = leave_treatments_out(cells, ["T1"])
    assert covers(split, cells)
    assert set(texts(cells.treatment)[split.held_out]) == {"T1"}
    used = np.concatenate([split.train, split.validation])
    assert "T1" not in set(texts(cells.treatment)[used])
    assert find_leakage(cells, split, side_px=50).treatments_held_out == 0


def test_planted_leaks_are_found(cells) -> None:
    good = leave_plates_out(cells, ["01"])
    leaky = good._replace(validation=np.append(good.validation, good.train[0]))
    found = find_leakage(cells, leaky, side_px=10)
    assert (found.plates, found.wells, found.cells) == (1, 1, 1)
    held = leave_treatments_out(cells, ["T1"])
    leaky = held._replace(train=np.append(held.train, held.held_out[0]))
    assert find_leakage(cells, leaky, side_px=10).treatments_held_out == 1


def test_a_column_splits_by_its_values() -> None:
    values = code_texts(["a", "b", None, "c", "a"])
    split = by_column(values, ["a"], ["b"])
    assert [list(side) for side in split] == [[0, 4], [1], [2, 3]]
    everything_else = by_column(values, [], ["b"])
    assert list(everything_else.train) == [0, 2, 3, 4]
    with pytest.raises(UsageError, match="'a' is given for training and for validation"):
        by_column(values, ["a"], ["a"])
    with pytest.raises(UsageError, match="no cell validates; values found: a, b, c"):
        by_column(values, ["a"], ["d"])


def test_what_cannot_be_split_is_said(cells) -> None:
    with pytest.raises(UsageError, match="no plate '9' to leave out; found: 00, 01, 02"):
        leave_plates_out(cells, ["9"])
    with pytest.raises(UsageError, match="leaving 3 of 3 plates out"):
        leave_plates_out(cells, ["00", "01", "02"])
    with pytest.raises(UsageError, match="no treatment 'X'"):
        leave_treatments_out(cells, ["X"])
    with pytest.raises(UsageError, match="at least two must train"):
        leave_treatments_out(cells, ["T0", "T1", "T2"])
    with pytest.raises(UsageError, match=r"1\.0 found"):
        leave_cells_out(cells, fraction=1.0)


def test_texts_are_coded_whatever_dictionaries_their_pieces_have() -> None:
    given = [["b", None, "a"], [], ["c", "b"]]
    strings = pa.chunked_array([pa.array(part, pa.string()) for part in given])
    pieces = pa.chunked_array([pa.array(part, pa.string()).dictionary_encode() for part in given])
    for column in (strings, pieces):
        coded = code_column(column)
        assert coded.names == ("a", "b", "c")
        assert coded.codes.dtype == np.int32
        assert texts(coded).tolist() == ["b", None, "a", "c", "b"]
    some = coded.take(np.array([1, 4]))
    assert (some.occurring(), some.isin(["b", "x"]).tolist()) == (("b",), [False, True])
    empty = code_texts([])
    assert (len(empty), empty.occurring(), empty.isin(["a"]).tolist()) == (0, (), [])
