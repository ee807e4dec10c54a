import gzip

import numpy as np
import pandas as pd
import pytest

from cellml.data.assay_tables import read_assays, require_binary
from cellml.errors import UsageError, UserError

TABLE = """smiles,id,fold,A,B,C,empty
CCO,x1,0,1,,0.5,
CCN,x2,1,0,nan,,
,x3,1,,1,-2,
"""


@pytest.fixture
def table(tmp_path):
    def write(text, name="assays.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_all_numeric_columns_are_assays_by_default(table):
    found = read_assays(table(TABLE), ignore=["fold"])
    assert found.names == ("A", "B", "C")
    assert found.smiles == ("CCO", "CCN", "")
    nan = np.nan
    np.testing.assert_array_equal(found.labels, [[1, nan, 0.5], [0, nan, nan], [nan, 1, -2]])
    assert found.kinds() == ("binary", "binary", "real")
    assert found.column("fold") == ["0", "1", "1"]
    assert found.others.column_names == ["id", "fold", "empty"]
    some = found.take(np.array([2, 0]))
    assert some.smiles == ("", "CCO")
    assert some.column("id") == ["x3", "x1"]
    with pytest.raises(UserError, match=r"no column 'Fold' \(did you mean 'fold'"):
        found.column("Fold")


def test_targets_keep_their_order_and_may_be_empty(table):
    found = read_assays(table(TABLE), targets=["C", "empty", "fold"])
    assert found.names == ("C", "empty", "fold")
    assert found.kinds() == ("real", "empty", "binary")
    with pytest.raises(UserError, match=r"no column 'a' \(did you mean 'A'"):
        read_assays(table(TABLE), targets=["a"])
    for targets in (["A", "A"], ["smiles"]):
        with pytest.raises(UsageError, match="as well, or twice"):
            read_assays(table(TABLE), targets=targets)


@pytest.mark.parametrize("bad", ["O", "1,5", "inf", "1e99", "1_0"])
def test_bad_values_name_line_and_column(table, bad):
    path = table(TABLE.replace("CCN,x2,1,0", f'CCN,x2,1,"{bad}"') + "C,x4,0,1,1,1,\n")
    with pytest.raises(UserError, match=rf"assays.csv, line 3, column 'A': found '{bad}'"):
        read_assays(path)


def test_values_other_than_0_and_1_are_found(table):
    with pytest.raises(UserError, match=r"line 2, column 'C': found 0.5.*in 1 of 4 columns"):
        require_binary(read_assays(table(TABLE)))
    require_binary(read_assays(table(TABLE), targets=["A", "B"]))


def test_chemprops_layouts_are_read(table, tmp_path):
    quoted = table('"mol","NR-AhR","NR-ER"\r\n"CCO",1,\r\n"CN1C(=O)C1",0,0\r\n')
    found = read_assays(quoted)
    assert (found.names, found.labels.shape) == (("NR-AhR", "NR-ER"), (2, 2))
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(TABLE.encode()))
    assert read_assays(packed, smiles_column="smiles").names == ("fold", "A", "B", "C")


def test_nothing_to_read(table):
    with pytest.raises(UserError, match="no row below the header"):
        read_assays(table("smiles,A\n"))
    with pytest.raises(UsageError, match="there is no assay"):
        read_assays(table("smiles,name\nC,methane\n"))
    with pytest.raises(UserError, match="no column 'SMILES'"):
        read_assays(table(TABLE), smiles_column="SMILES")


def test_published_matrix(shared_data):
    folder = shared_data / "activity" / "broad270"
    found = read_assays(
        folder / "assay_matrix_81of270_folds0-3.csv.gz",
        ignore=["matrix_row", "scaffold_fold"],
        smiles_column="smiles",
    )
    assert found.labels.shape == (12_936, 81)
    require_binary(found)
    assert sorted(set(found.column("scaffold_fold"))) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    "name",
    ["classification", "classification_mol", "regression", "regression_mol_multitask"],
)
def test_tables_of_chemprop_are_read_as_chemprop_reads_them(shared_data, name):
    path = shared_data / "activity" / "chemprop_test_fixtures" / f"{name}.csv"
    expected = pd.read_csv(path, index_col=0)  # Chemprop: the first column, then all others
    found = read_assays(path)
    assert found.names == tuple(expected.columns)
    assert found.smiles == tuple(expected.index)
    np.testing.assert_array_equal(found.labels, expected.to_numpy(np.float32))
