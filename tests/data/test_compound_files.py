"""Features, splits, predictions and scores in files: round trips, Chemprop's forms, bad input."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cellml.data.assay_tables import AssayTable
from cellml.data.compound_features import read_features, write_features
from cellml.data.prediction_tables import (
    align_predictions,
    read_prediction_rows,
    write_predictions,
)
from cellml.data.score_tables import read_assay_types, read_score_tables
from cellml.data.split_files import read_splits, split_of_parts, splits_of_folds, write_splits
from cellml.errors import UsageError, UserError

SMILES = ("CC", "CO", "CN")
NAN = np.nan


def test_features_in_chemprops_files(tmp_path):
    values = np.arange(6, dtype=np.float64).reshape(3, 2)
    np.savez(tmp_path / "v2.npz", values)
    np.savez_compressed(tmp_path / "v1.npz", features=values)
    np.save(tmp_path / "bare.npy", values)
    (tmp_path / "v1.csv").write_text("a,b\n0,1\n2,3\n4,5\n")
    for name in ("v2.npz", "v1.npz", "bare.npy", "v1.csv"):
        found = read_features(tmp_path / name, SMILES)
        np.testing.assert_array_equal(found.values, values)
        assert found.values.dtype == np.float32
    assert found.names == ("a", "b")
    assert found.there.all()


@pytest.mark.parametrize("ending", ["npz", "csv", "parquet"])
def test_features_go_out_and_come_back(tmp_path, ending):
    values = np.array([[1, 2.5], [3, -4]], np.float32)
    path = tmp_path / f"f.{ending}"
    write_features(path, SMILES, np.array([0, 2]), values, ["x", "y"])
    found = read_features(path, SMILES)
    assert found.names == ("x", "y")
    np.testing.assert_array_equal(found.values, [[1, 2.5], [NAN, NAN], [3, -4]])
    first = path.read_bytes()
    write_features(path, SMILES, np.array([0, 2]), values, ["x", "y"])
    assert path.read_bytes() == first
    with pytest.raises(UsageError, match="are written as"):
        write_features(tmp_path / "f.txt", SMILES, np.array([0, 2]), values, ["x", "y"])


def test_tables_by_smiles_skip_metadata_and_texts(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("Metadata_n,SMILES,name,x\n9,CN,u,1\n9,CC,v,\n9,CN,w,1\n9,CCC,x,7\n")
    found = read_features(path, SMILES)
    assert found.names == ("x",)
    np.testing.assert_array_equal(found.values[:, 0], [NAN, NAN, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\n2\n", "2 rows and no column of SMILES found, 3 expected"),
        ("smiles,a\nCC,1\nCC,2\n", "lines 2 and 3: two different rows for CC"),
        ("smiles,a\nCCCC,1\n", "none of the 3 compounds"),
        ("smiles,a\nCC,1\nCO,x\n", "line 3, column 'a': found 'x'"),
        ("smiles,a\nCC,1\nCO,inf\n", "line 3, column 'a': found"),
        ("smiles,a\nCC,x\nCO,y\n", "no column of numbers"),
        ("smiles,a\n", "no row below"),
    ],
)
def test_bad_features(tmp_path, text, message):
    path = tmp_path / "f.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_features(path, SMILES)


def test_bad_arrays(tmp_path):
    path = tmp_path / "f.npz"
    for values, message in (
        (np.zeros((2, 1)), "2 rows found, 3 expected"),
        (np.zeros(3), r"has shape \(3,\)"),
        (np.array([["a"]] * 3), "numbers with a row"),
        (np.array([[1.0], [np.inf], [2.0]]), "row 1, feature f0 is infinite"),
    ):
        np.savez(path, values)
        with pytest.raises(UserError, match=message):
            read_features(path, SMILES)
    np.savez(path, np.array([[{}]] * 3, dtype=object))
    with pytest.raises(UserError, match="cannot be read as arrays of numbers"):
        read_features(path, SMILES)


def test_splits_of_folds_and_parts_and_the_file(tmp_path):
    folds = np.array([0, 2, 1, 0, -1, 2])
    found = splits_of_folds(folds)
    assert [s.test.tolist() for s in found] == [[0, 3], [2], [1, 5]]
    assert [s.val.tolist() for s in found] == [[2], [1, 5], [0, 3]]
    assert [s.train.tolist() for s in found] == [[1, 5], [0, 3], [2]]
    two = splits_of_folds(np.array([0, 1, 1]))
    assert (two[0].val.size, two[0].train.tolist()) == (0, [1, 2])
    parts = split_of_parts(np.array([2, 0, 1, 0]))
    assert [side.tolist() for side in parts] == [[1, 3], [2], [0]]
    write_splits(tmp_path / "s.json", found)
    assert json.loads((tmp_path / "s.json").read_text())[0]["test"] == [0, 3]
    for ours, back in zip(found, read_splits(tmp_path / "s.json", 6), strict=True):
        assert [a.tolist() for a in ours] == [b.tolist() for b in back]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"train": "0-2,4", "val": [3], "test": []}]', None),
        ('{"train": [0], "test": [1]}', None),
        ('[{"train": [0], "test": [5]}]', "split 0: row 5 found, rows 0 to 4 expected"),
        ('[{"train": [0], "test": [0]}]', "row 0 is there twice"),
        ('[{"train": [0]}]', r"found \['train'\], expected train, val and test"),
        ('[{"train": "a-b", "test": [1]}]', "rows as"),
        ('[{"train": [0.5], "test": [1]}]', "rows as"),
        ("[[0], [1]]", "expected a list of"),
        ("{", "no JSON"),
    ],
)
def test_splits_as_people_write_them(tmp_path, text, message):
    path = tmp_path / "s.json"
    path.write_text(text)
    if message is None:
        assert read_splits(path, 5)[0].train.tolist() in ([0, 1, 2, 4], [0])
    else:
        with pytest.raises(UserError, match=message):
            read_splits(path, 5)


def table(smiles, folds=None):
    others = pa.table({"fold": folds} if folds else {})
    labels = np.zeros((len(smiles), 1), np.float32)
    return AssayTable(Path("truth.csv"), tuple(smiles), labels, ("A",), others)


def test_predictions_round_trip_to_the_bit_and_chemprops_words(tmp_path):
    values = np.random.default_rng(0).random((3, 1)).astype(np.float32)
    values[1] = NAN
    write_predictions(
        tmp_path / "p.csv", SMILES, values, ["A"], pa.table({"fold": ["0", "1", "1"]})
    )
    part = read_prediction_rows(tmp_path / "p.csv", ["A"])
    np.testing.assert_array_equal(part.values, values)
    assert part.others["fold"].to_pylist() == ["0", "1", "1"]
    (tmp_path / "v1.csv").write_text("smiles,A\nCC,0.25\nx(,Invalid SMILES\n")
    np.testing.assert_array_equal(
        read_prediction_rows(tmp_path / "v1.csv", ["A"]).values, np.array([[0.25], [NAN]])
    )


def test_predictions_of_repeated_compounds(tmp_path):
    path = tmp_path / "p.csv"

    def aligned(text, truth, fold_column=None):
        path.write_text(text)
        part = read_prediction_rows(path, ["A"])
        return align_predictions([part], truth, fold_column=fold_column)[:, 0].tolist()

    truth = table(["CC", "CO", "CC"], ["0", "0", "1"])
    assert aligned("s,A\nCO,1\nCC,2\n", truth) == [2, 1, 2]
    assert aligned("s,A\nCC,3\nCO,1\nCC,2\n", truth) == [3, 1, 2]
    assert aligned("s,fold,A\nCC,1,3\nCO,0,1\nCC,0,2\n", truth, "fold") == [2, 1, 3]
    found = aligned("s,fold,A\nCC,1,3\n", truth, "fold")
    np.testing.assert_array_equal(found, [NAN, NAN, 3])
    with pytest.raises(UserError, match="line 3: 3 predictions of 'CC' found, 1 or 2 expected"):
        aligned("s,A\nCC,1\nCC,2\nCC,3\n", truth)
    with pytest.raises(UserError, match=r"'CC' with fold '2' is not in truth\.csv"):
        aligned("s,fold,A\nCC,2,1\n", truth, "fold")


def test_scores_of_the_study_and_our_own(tmp_path):
    ours, theirs = tmp_path / "a.csv", tmp_path / "b.csv"
    ours.write_text("predictor,assay,type,auroc_median\np,x,cell,0.5\np,y,yeast,\n")
    theirs.write_text("assay_id,auc,descriptor,auc_50\ny,.75,q,TRUE\nx,NA,q,FALSE\n")
    found = read_score_tables([ours, theirs])
    assert found.assays == ("x", "y")
    assert found.types == ("cell", "yeast")
    np.testing.assert_array_equal(found.scores["p"]["auroc_median"], [0.5, NAN])
    np.testing.assert_array_equal(found.scores["q"]["auroc"], [NAN, 0.75])
    types = tmp_path / "t.csv"
    types.write_text("PUMA_ASSAY_ID,ASSAY_TYPE\nx,cell\n")
    assert read_assay_types(types, ["x"]) == ("cell",)
    with pytest.raises(UserError, match=r"no ASSAY_TYPE of assay 'y'.*1 of 2 assays"):
        read_assay_types(types, ["x", "y"])
    theirs.write_text("assay_id,auc,descriptor\ny,.75,q\ny,.5,q\n")
    with pytest.raises(UserError, match=r"line 3: auc of 'q' for assay 'y' is given twice"):
        read_score_tables([theirs])
    theirs.write_text("assay_id,auc,descriptor\ny,.75,q\nx,high,q\n")
    with pytest.raises(UserError, match=r"line 3, column 'auc': found 'high'"):
        read_score_tables([theirs])
