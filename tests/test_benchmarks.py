"""What benchmarks make of public data before they measure, on tables made here."""

import csv
import gzip

import numpy as np
import pytest
from rdkit import Chem

from benchmarks.bench_activity_fusion import join_pairs
from cellml.data.assay_tables import read_assays
from tests.cli.compounds import SMILES, read_rows

WITHOUT, TWICE = 5, 3
"""Compounds without a profile at the end; stereoisomers that share a skeleton, at the beginning."""


def write_gzip(path, header, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def data(tmp_path):
    """Two plates of wells, some of them controls, and assays of more compounds than were imaged."""
    header = ["Metadata_Plate", "Metadata_Well", "Metadata_pert_type", "Metadata_InChIKey",
              "Nuclei_x", "Cells_y"]  # fmt: skip
    keys = [Chem.MolToInchiKey(Chem.MolFromSmiles(s)) for s in SMILES]
    imaged = list(range(len(SMILES) - WITHOUT))
    for plate in (0, 1):
        rows = [[f"P{plate}", f"A{i:02d}", "trt", keys[i], i + plate, -2.0 * i] for i in imaged]
        rows.append([f"P{plate}", "Z01", "trt", "AAAAAAAAAAAAAA-UHFFFAOYSA-N", 7, 7])
        rows.append([f"P{plate}", "Z02", "control", keys[0], 1e6, 1e6])  # of no compound
        name = f"P{plate}_normalized_feature_select_negcon_batch.csv.gz"
        write_gzip(tmp_path / "profiles" / "cpjump1" / name, header, rows)
    lines = [[s, i % 2, int(i < 9), "" if i % 3 else i % 4 // 2] for i, s in enumerate(SMILES)]
    for i in range(TWICE):  # written otherwise: a hit where one of the two is one
        other = Chem.MolToSmiles(Chem.MolFromSmiles(SMILES[i]), rootedAtAtom=1)
        lines.append([other, 1, 0, ""])
    path = tmp_path / "activity" / "moleculenet" / "toxcast.csv.gz"
    write_gzip(path, ["smiles", "even", "rare", "sparse"], lines)
    return tmp_path


def test_pairs_are_joined_by_their_skeleton(data, tmp_path):
    assays, profiles = join_pairs(data, tmp_path / "pairs")
    table = read_assays(assays)
    imaged = len(SMILES) - WITHOUT
    assert table.smiles == SMILES[:imaged]
    # `rare` has nine hits; `sparse` has 60 / 3 readouts, of which less than ten are hits.
    assert table.names == ("even",)
    expected = [1 if i < TWICE else i % 2 for i in range(imaged)]
    np.testing.assert_array_equal(table.labels[:, 0], expected)
    rows = read_rows(profiles)
    assert list(rows[0]) == ["smiles", "f0", "f1"]
    assert [row["smiles"] for row in rows] == list(table.smiles)
    found = [[float(row["f0"]), float(row["f1"])] for row in rows]
    np.testing.assert_allclose(found, [[i + 0.5, -2 * i] for i in range(imaged)])
