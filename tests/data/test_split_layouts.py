"""Splits as both versions of Chemprop write them, rows that lists leave out, what is refused."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from cellml.commands.activity_inputs import read_folds
from cellml.data.assay_tables import AssayTable, read_assays
from cellml.data.split_files import read_splits
from cellml.errors import UserError

ONE = [[0, 1, 5], [2], [3, 4]]
TWO = [[2, 3, 4], None, [0, 1, 5]]


def table(tmp_path: Path) -> AssayTable:
    path = tmp_path / "t.csv"
    lines = ["CC,1", "not a molecule,0", '"",1', "CCC,0", "CCO,1", "CCN,0"]
    path.write_text("\n".join(["smiles,A", *lines]) + "\n")
    return read_assays(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("split_indices.pckl", pickle.dumps(ONE)),
        ("a.pkl", pickle.dumps([ONE])),
        ("a.pickle", pickle.dumps({"train": ONE[0], "val": ONE[1], "test": ONE[2]})),
        ("a.json", json.dumps([{"train": [0, 1, 5], "val": "2", "test": "3-4"}]).encode()),
        ("b.json", json.dumps(ONE).encode()),
    ],
)
def test_one_split_in_every_layout(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (split,) = read_splits(tmp_path / name, 6)
    assert [side.tolist() for side in split] == ONE


def test_several_splits_say_what_each_trains_on(tmp_path: Path) -> None:
    file = tmp_path / "cv.pkl"
    file.write_bytes(pickle.dumps([ONE, TWO]))
    folds = read_folds(table(tmp_path), splits_file=file)
    assert folds is not None
    assert folds.fold.tolist() == [1, 1, -1, 0, 0, 1]
    assert np.flatnonzero(folds.trains(0)).tolist() == [0, 1, 5]  # 2 validates
    assert np.flatnonzero(folds.trains(1)).tolist() == [2, 3, 4]
    assert folds.split_of(0).val.tolist() == [2]
    columns = read_folds(_with_column(tmp_path), column="fold")
    assert columns is not None
    assert np.flatnonzero(columns.trains(0)).tolist() == [1, 4]
    assert columns.split_of(1).test.tolist() == [1, 4]


def _with_column(tmp_path: Path) -> AssayTable:
    path = tmp_path / "c.csv"
    path.write_text("smiles,A,fold\nCC,1,a\nbad(,0,b\nC,1,\nCCC,0,a\nCCO,1,b\nCCN,0,a\n")
    return read_assays(path, ignore=["fold"])


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pkl", pickle.dumps(Malicious()), r"no pickle of plain lists of rows \(posix.system"),
        ("a.pkl", pickle.dumps(np.arange(3)), "no pickle of plain lists of rows"),
        ("a.pkl", b"nonsense", "no pickle of plain lists"),
        ("a.json", b"[[0, 1], [2]]", "expected a list of {train, val, test}"),
        ("a.json", json.dumps([[0, 9], [1], [2]]).encode(), "split 0: row 9 found, rows 0 to 5"),
        ("a.json", json.dumps([[0, 1], [1], [2]]).encode(), "split 0: row 1 is there twice"),
    ],
)
def test_what_is_no_split_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_splits(tmp_path / name, 6)
    assert not (tmp_path / "pwned").exists()


def test_overlapping_tests_name_row_and_line(tmp_path: Path) -> None:
    file = tmp_path / "s.json"
    file.write_text(json.dumps([ONE, [[0], [1], [4, 5]]]))
    with pytest.raises(UserError, match=r"row 4 \(line 6 of the table\) is tested by splits 0"):
        read_folds(table(tmp_path), splits_file=file)
