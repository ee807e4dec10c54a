"""`cellml activity filter|split|fingerprint`: tables in, tables out, nothing dropped silently."""

import json
import pickle
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from cellml.data.compound_features import read_features
from cellml.errors import UsageError, UserError
from tests.cli.compounds import SMILES, activity, compounds, read_rows, write_rows

PAINS = "O=C1C=CC(=O)c2ccccc21"  # a quinone
THIOPHENE = "Oc1ccsc1"  # row 43, a PAINS compound as well


@pytest.fixture
def screen(tmp_path):
    """12 assays: 0-5 hit by the same compounds, 6-9 by others, 10 by PAINS alone, 11 by none."""
    rng = np.random.default_rng(1)
    n = 60
    labels = np.zeros((n + 2, 12))
    labels[:8, :6] = 1
    for assay in range(6, 10):
        labels[10 + 8 * (assay - 6) : 16 + 8 * (assay - 6), assay] = 1
    labels[n, 10] = 1
    labels[59, [0, 6, 7, 8, 9]] = 1  # a frequent hitter
    labels[rng.random(labels.shape) < 0.1] = np.nan
    labels[[0, n, 59], :11] = np.nan_to_num(labels[[0, n, 59], :11])
    smiles = [*SMILES, PAINS, "not-a-molecule"]
    rows = [[f"id{i}", s, *labels[i].tolist()] for i, s in enumerate(smiles)]
    return write_rows(tmp_path / "screen.csv", ["name", "mol", *(f"a{i}" for i in range(12))], rows)


def test_filter_says_what_every_step_took_out(screen, tmp_path):
    out = tmp_path / "out"
    code, text = activity(
        "filter", screen, "--smiles-column", "mol", "--out", out, "--frequent", 0.4
    )
    assert code == 0
    facts = json.loads((out / "filter.json").read_text())
    removed = {step["name"]: step for step in facts["steps"]}
    assert facts["rejected"] == 1
    assert removed["pains"]["compounds_removed"] == 2
    assert removed["no_hits"]["assays_removed"] == 2  # 11, and 10 without its PAINS compound
    assert removed["redundant"]["assays_removed"] == 5  # int(.3 * 6) of the six stays
    assert removed["frequent_hitters"]["compounds_removed"] == 1
    lines = read_rows(out / "removed.csv")
    by_step = {step: [line["name"] for line in lines if line["step"] == step] for step in removed}
    assert by_step["pains"] == [THIOPHENE, PAINS]
    assert by_step["no_hits"] == ["a10", "a11"]
    assert set(by_step["redundant"]) < {f"a{i}" for i in range(6)}
    assert by_step["frequent_hitters"] == [SMILES[59]]
    assert [x["line"] for x in lines if x["step"] == "pains"] == ["45", "62"]
    rejected = read_rows(out / "rejected.csv")
    assert [(line["line"], line["smiles"]) for line in rejected] == [("63", "not-a-molecule")]
    assert rejected[0]["reason"]
    left = read_rows(out / "filtered.csv")
    assert len(left) == 58
    assert list(left[0])[:2] == ["mol", "name"]
    original = {line["mol"]: line for line in read_rows(screen)}
    for line in left:
        assert line["name"] == original[line["mol"]]["name"]
        for name in set(line) - {"mol", "name"}:
            assert line[name] == original[line["mol"]][name].removesuffix(".0")
    assert "assays that share more than 0.7" in text
    again = tmp_path / "again"
    activity("filter", screen, "--smiles-column", "mol", "--out", again, "--frequent", 0.4)
    for name in ("filtered.csv", "removed.csv"):
        assert (out / name).read_bytes() == (again / name).read_bytes()


def test_filter_stops_where_asked_or_nothing_is_left(screen, tmp_path):
    options = ("filter", screen, "--smiles-column", "mol", "--out", tmp_path / "x")
    with pytest.raises(UserError, match=r"line 63: 'not-a-molecule' is no molecule"):
        activity(*options, "--strict")
    with pytest.raises(UsageError, match="jaccard must lie within"):
        activity(*options, "--jaccard", 2)
    empty = write_rows(tmp_path / "e.csv", ["s", "a"], [["CC", 0], ["CO", 0]])
    with pytest.raises(UserError, match="no assay is left"):
        activity("filter", empty, "--out", tmp_path / "y")
    wrong = write_rows(tmp_path / "w.csv", ["s", "a"], [["CC", 0], ["CO", 2]])
    with pytest.raises(UserError, match=r"line 3, column 'a': found 2, expected 0"):
        activity("filter", wrong, "--out", tmp_path / "z")


@pytest.mark.parametrize(
    "options",
    [
        ("scaffold", "--folds", 3),
        ("scaffold_balanced", "--fractions", ".5,.25,.25"),
        ("random", "--folds", 4, "--identity-safe"),
    ],
)
def test_split_tables_and_splits_agree_and_scaffolds_stay_together(tmp_path, options):
    data = compounds(tmp_path / "d.csv", fold=False)
    out = tmp_path / "out"
    activity("split", data, "--split", *options, "--out", out, "--no-similarity")
    rows = read_rows(out / "split.csv")
    splits = json.loads((out / "splits.json").read_text())
    assert [row["smiles"] for row in rows] == list(SMILES)
    for number, split in enumerate(splits):
        assert sorted(split["train"] + split["val"] + split["test"]) == list(range(len(rows)))
        name = "test" if options[0] == "scaffold_balanced" else str(number)
        assert split["test"] == [i for i, row in enumerate(rows) if row["fold"] == name]
    leak = json.loads((out / "leakage.json").read_text())
    assert sum(leak["compounds"]) == len(SMILES)
    if options[0] != "random":
        assert leak["identities"]["scaffold"]["on_several_sides"] == 0
        sides = {}
        for row in rows:
            scaffold = MurckoScaffold.MurckoScaffoldSmiles(smiles=row["smiles"])
            sides.setdefault(scaffold, set()).add(row["fold"])
        assert all(len(side) == 1 for side in sides.values())
    assert leak["identities"]["skeleton"]["on_several_sides"] == 0


def test_split_by_profiles_spreads_those_without_and_names_bad_ones(tmp_path):
    data = compounds(tmp_path / "d.csv", fold=False)
    rng = np.random.default_rng(0)
    group = np.arange(len(SMILES)) % 3
    profiles = pd.DataFrame(
        rng.normal(size=(60, 2)) * 0.01 + 10 * group[:, None], columns=["x", "y"]
    )
    profiles.insert(0, "SMILES", SMILES)
    profiles.iloc[:54].to_parquet(tmp_path / "p.parquet")
    options = ("split", data, "--split", "kmeans", "--folds", 3, "--no-similarity")
    _, text = activity(*options, "--features", tmp_path / "p.parquet", "--out", tmp_path / "o")
    assert "6 compounds without a profile" in text
    folds = [int(row["fold"]) for row in read_rows(tmp_path / "o" / "split.csv")]
    assert len({(g, f) for g, f in zip(group[:54], folds[:54], strict=True)}) == 3
    assert np.bincount(folds).tolist() == [20, 20, 20]
    profiles.loc[4, "y"] = np.nan
    profiles.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(UserError, match=r"d.csv, line 6\) has no number for 'y'"):
        activity(*options, "--features", tmp_path / "bad.csv", "--out", tmp_path / "p")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--split", "magic"), "one of scaffold, scaffold_balanced"),
        (("--split", "scaffold_balanced", "--folds", 5), "makes parts"),
        (("--split", "scaffold", "--fractions", ".8,.1,.1"), "makes folds"),
        (("--split", "random", "--fractions", ".8,.1"), "three shares"),
        (("--split", "kmeans"), "--features and --split kmeans go together"),
        (("--split", "column"), "--column and --split column go together"),
        (("--folds", 50), "n_folds must lie within 2 and the 6 groups"),
    ],
)
def test_splits_that_cannot_be(tmp_path, options, message):
    data = compounds(tmp_path / "d.csv", fold=False)
    with pytest.raises(UsageError, match=message):
        activity("split", data, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_split_by_column_keeps_it_and_a_second_fold_column_is_refused(tmp_path):
    data = compounds(tmp_path / "d.csv")
    out = tmp_path / "out"
    activity("split", data, "--split", "column", "--column", "fold", "--out", out)
    rows = read_rows(out / "split.csv")
    assert [row["fold"] for row in rows] == [str(i % 3) for i in range(60)]
    leak = json.loads((out / "leakage.json").read_text())
    assert leak["identities"]["scaffold"]["on_several_sides"] == 6
    assert leak["nearest_similarity_mean"][0] > 0
    with pytest.raises(UsageError, match="has a column 'fold' already"):
        activity("split", data, "--out", tmp_path / "other")


@pytest.mark.parametrize("ending", ["npz", "parquet", "csv"])
def test_fingerprints_come_back_and_rejected_rows_are_named(tmp_path, ending):
    smiles = ["CCO", "x(", "c1ccccc1O", ""]
    data = write_rows(tmp_path / "d.csv", ["smiles", "n"], [[s, 0] for s in smiles])
    file = tmp_path / "out" / f"f.{ending}"
    _, text = activity("fingerprint", data, "--out", file, "--radius", 3, "--size", 64)
    assert "2 rows left out" in text
    rejected = read_rows(tmp_path / "out" / "f_rejected.csv")
    assert [line["line"] for line in rejected] == ["3", "5"]
    found = read_features(file, smiles)
    assert found.there.tolist() == [True, False, True, False]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=3, fpSize=64)
    for row in (0, 2):
        bits = generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(smiles[row]))
        np.testing.assert_array_equal(found.values[row], bits)
    if ending == "npz":
        with np.load(file) as arrays:  # as Chemprop reads it
            assert arrays["arr_0"].shape == (2, 64)


def test_descriptors_and_wrong_options(tmp_path):
    data = write_rows(tmp_path / "d.csv", ["smiles"], [["CCO"]])
    activity("fingerprint", data, "--out", tmp_path / "f.csv", "--kind", "descriptors")
    found = read_features(tmp_path / "f.csv", ["CCO"])
    assert found.values[0, found.names.index("MolWt")] == pytest.approx(46.069, abs=1e-3)
    for options, message in (
        (("--kind", "ecfp"), "--kind ecfp: one of"),
        (("--size", 0), "at least 0 and 1"),
    ):
        with pytest.raises(UsageError, match=message):
            activity("fingerprint", data, "--out", tmp_path / "g.npz", *options)
    with pytest.raises(UsageError, match="expected as ending"):
        activity("fingerprint", data, "--out", tmp_path / "g.pkl")
    bad = write_rows(tmp_path / "b.csv", ["smiles"], [["y("]])
    with pytest.raises(UserError, match=r"line 2: 'y\(' is no molecule"):
        activity("fingerprint", bad, "--out", tmp_path / "g.npz")


def test_rows_of_a_split_are_rows_of_the_table_as_the_user_has_it(tmp_path):
    smiles = ["not-a-molecule", *SMILES[:12], "", *SMILES[12:24]]
    rows = [[s, i % 2, "0", i % 3] for i, s in enumerate(smiles)]
    data = write_rows(tmp_path / "d.csv", ["smiles", "A", "note", "part"], rows)
    out = tmp_path / "out"
    options = ("split", data, "--ignore", "part", "--folds", 3, "--no-similarity")
    _, text = activity(*options, "--out", out)
    assert "2 rows in no fold" in text
    written = read_rows(out / "split.csv")
    assert [row["smiles"] for row in written] == smiles
    assert [i for i, row in enumerate(written) if not row["fold"]] == [0, 13]
    splits = json.loads((out / "splits.json").read_text())
    for number, split in enumerate(splits):
        assert split["test"] == [i for i, row in enumerate(written) if row["fold"] == str(number)]
        assert sorted(chain(*split.values())) == [i for i in range(26) if i not in (0, 13)]


@pytest.mark.parametrize("ending", ["json", "pckl"])
def test_any_split_has_a_leakage_report(tmp_path, ending):
    data = compounds(tmp_path / "d.csv", fold=False)
    sides = [list(range(0, 60, 2)), [1, 3], list(range(5, 60, 2))]
    file = tmp_path / f"s.{ending}"
    if ending == "json":
        names = ("train", "val", "test")
        file.write_text(json.dumps([dict(zip(names, sides, strict=True))]))
    else:
        file.write_bytes(pickle.dumps(sides))
    out = tmp_path / "out"
    activity("split", data, "--splits-file", file, "--out", out)
    leak = json.loads((out / "leakage.json").read_text())
    assert leak["compounds"] == [30, 2, 28]
    assert leak["folds"] == ["train", "val", "test"]
    scaffolds = [MurckoScaffold.MurckoScaffoldSmiles(smiles=s) for s in SMILES]
    sides_of = {s: {k for k in range(3) for i in sides[k] if scaffolds[i] == s} for s in scaffolds}
    spanning = sum(len(found) > 1 for found in sides_of.values())
    assert leak["identities"]["scaffold"]["on_several_sides"] == spanning > 0
