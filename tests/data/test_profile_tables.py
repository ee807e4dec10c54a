"""Tables of profiles: what is metadata, what are features, missing numbers, more metadata."""

import numpy as np
import pandas as pd
import pytest
from pycytominer.cyto_utils import infer_cp_features

from cellml.data import profile_tables
from cellml.data.profile_columns import sort_columns
from cellml.data.profile_joins import canonical, pair_joins, read_join
from cellml.data.profile_reading import open_table, read_pieces
from cellml.data.profile_tables import ProfileTable, read_profiles
from cellml.errors import UsageError, UserError


def wells(n: int = 7) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(n, 3)), columns=["f0", "f1", "f2"])
    table.insert(0, "Metadata_Plate", "007")
    table.insert(1, "Metadata_Well", [f"A{i + 1:02d}" for i in range(n)])
    return table


def test_texts_stay_texts_and_missing_numbers_stay(tmp_path):
    table = wells()
    table["Metadata_gene"] = ["NA", "nan", None, "0012", "1e5", "x", " y"]
    table.loc[3, "f1"] = np.nan
    table.loc[[2, 4], "f2"] = np.inf, -np.inf
    table["f3"] = np.nan
    for suffix in (".csv", ".csv.gz", ".tsv", ".parquet"):
        path = tmp_path / f"a{suffix}"
        if suffix == ".parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",", na_rep="NA")
        found = read_profiles([path])
        assert found.names == ("f0", "f1", "f2")
        assert set(found.column("Metadata_Plate")) == {"007"}
        expected = table[["f0", "f1", "f2"]].replace([np.inf, -np.inf], np.nan)
        np.testing.assert_allclose(found.features, expected, rtol=1e-12)
        assert "2 infinite values count as missing" in found.notes
        assert "1 features have no number and were left out (the first: f3)" in found.notes
        texts = found.column("Metadata_gene").tolist()
        # a text file cannot tell a gene called NA from a missing one: it stays what is written
        assert texts[3:] == ["0012", "1e5", "x", " y"]
        assert texts[0] == "NA"
        assert texts[2] == ("" if suffix == ".parquet" else "NA")


def test_tables_share_features_and_name_what_they_do_not(tmp_path):
    wells(3).to_parquet(tmp_path / "a.parquet")
    wells(4).drop(columns="f1").assign(Metadata_new="n").to_csv(tmp_path / "b.csv", index=False)
    found = read_profiles([tmp_path / "a.parquet", tmp_path / "b.csv"])
    assert found.names == ("f0", "f2")
    assert found.features.shape == (7, 2)
    assert found.column("Metadata_new").tolist() == [""] * 3 + ["n"] * 4
    assert "1 features are not in every table and were left out" in found.notes
    assert read_profiles([tmp_path / "a.parquet"], features_regex="f[12]").names == ("f1", "f2")
    wells(2)[["Metadata_Plate", "f1"]].to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(UserError, match="have no feature in common"):
        read_profiles([tmp_path / "b.csv", tmp_path / "c.csv"])


def test_features_of_cellprofiler_are_those_that_pycytominer_infers(tmp_path):
    table = pd.DataFrame(
        {
            "ImageNumber": [1, 2],
            "ObjectNumber": [1, 1],
            "Image_Metadata_Plate": ["p", "p"],
            "Image_Metadata_Well": ["a1", "a2"],
            "Image_Count_Cells": [3, 4],
            "Image_FileName_DNA": ["x.tif", "y.tif"],
            "Cells_AreaShape_Area": [1.0, 2.0],
            "Cells_Location_Center_X": [5.0, 6.0],
            "Cytoplasm_Intensity_Mean_ER": [0.1, np.nan],
            "Nuclei_Children_Count": [1, 2],
            "Nuclei_Note": ["ok", "bad"],
            "Plate_Effect": [0.5, 0.6],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    found = read_profiles([tmp_path / "t.csv"])
    numeric = table.drop(columns="Nuclei_Note")
    assert list(found.names) == infer_cp_features(numeric)
    assert found.taken == "columns Cells_..., Cytoplasm_..., Nuclei_..."
    assert list(found.metadata.columns) == ["Metadata_Plate", "Metadata_Well"]
    left, texts, places = found.notes
    assert left.startswith(
        "not taken as features: ImageNumber, ObjectNumber, Image_Count_Cells and"
    )
    assert texts == "not taken as features, they hold texts: Nuclei_Note"
    assert "Cells_Location_Center_X, Nuclei_Children_Count; --features-regex" in places
    chosen = read_profiles([tmp_path / "t.csv"], features_regex="^(Cells_Area|Plate_)")
    assert chosen.names == ("Cells_AreaShape_Area", "Plate_Effect")


def test_without_cellprofilers_names_numbers_are_features_but_for_ids_and_places():
    names = ["Metadata_x", "efficientnet_0", "ImageNumber", "TableNumber", "Location_Center_X",
             "Number_Object_Number", "x_px", "cell_id", "Unnamed: 0", "f1", "comment"]  # fmt: skip
    found = sort_columns("t.csv", names, [False, *[True] * 9, False])
    assert found.features == ("efficientnet_0", "f1")
    assert found.taken == "columns of numbers that are no metadata"
    assert "ImageNumber, TableNumber, Location_Center_X and 4 more" in found.notes[0]
    own = {"Metadata_Plate": "Metadata_Plate"}
    both = sort_columns("t", ["Image_Metadata_Plate", "Metadata_Plate", "f"], [False, False, True])
    assert both.metadata == own


def test_pieces_of_any_size_and_place_are_the_rows_of_the_table(tmp_path):
    table = wells(23)
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet", row_group_size=5)
    for name in ("t.csv", "t.parquet"):
        opened = open_table(tmp_path / name)
        for first, n_rows, rows in ((0, None, 4), (6, 9, 4), (3, 1, 100), (20, None, 2)):
            pieces = list(read_pieces(opened, ["f2"], first=first, n_rows=n_rows, piece_rows=rows))
            end = len(table) if n_rows is None else first + n_rows
            found = np.concatenate([piece.features for piece in pieces])
            np.testing.assert_allclose(found[:, 0], table["f2"][first:end], rtol=1e-12)
            texts = [t for piece in pieces for t in piece.metadata["Metadata_Well"]]
            assert texts == table["Metadata_Well"][first:end].tolist()
            assert [p.first for p in pieces] == np.cumsum(
                [first, *(len(p.features) for p in pieces[:-1])]
            ).tolist()
            assert max(len(piece.features) for piece in pieces) <= rows


def test_a_text_in_the_place_of_a_number_is_named(tmp_path):
    table = wells(1500)
    table["f1"] = table["f1"].astype(object)
    table.loc[1200, "f1"] = "much"
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match=r"feature 'f1' is not numeric, found 'much' in line 1202"):
        read_profiles([tmp_path / "t.csv"])


def test_tables_that_are_none(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_profiles([tmp_path / "none.csv"])
    (tmp_path / "a.csv").write_text("Metadata_Plate,f0\n")
    with pytest.raises(UserError, match="the table has no row"):
        read_profiles([tmp_path / "a.csv"])
    (tmp_path / "a.csv").write_text("Metadata_Plate,f0\n1,\n")
    with pytest.raises(UserError, match="no feature has a number"):
        read_profiles([tmp_path / "a.csv"])
    (tmp_path / "a.csv").write_text("plate,f0\n1,2\n")
    with pytest.raises(UserError, match="no column starts with Metadata_ or Image_Metadata_"):
        read_profiles([tmp_path / "a.csv"])
    with pytest.raises(UserError, match="no table of profiles given"):
        read_profiles([])


def test_a_table_too_large_for_the_memory_is_refused_with_what_to_do(tmp_path, monkeypatch):
    wells(50).to_parquet(tmp_path / "cells.parquet")
    monkeypatch.setattr(profile_tables, "TABLE_BYTES", 50 * 3 * 8 - 1)
    with pytest.raises(UserError, match="cellml profile aggregate --table FILE"):
        read_profiles([tmp_path / "cells.parquet"])
    monkeypatch.setattr(profile_tables, "TABLE_BYTES", 50 * 3 * 8)
    assert len(read_profiles([tmp_path / "cells.parquet"]).features) == 50


def test_columns_taken_together(tmp_path):
    metadata = pd.DataFrame({"Metadata_a": ["x", "", "y"], "Metadata_b": ["1", "", ""]})
    table = ProfileTable(np.zeros((3, 1)), ("f",), metadata)
    assert table.column("Metadata_a@Metadata_b").tolist() == ["x@1", "", "y@"]
    joined = table.with_column("Metadata_a@Metadata_b")
    assert joined.where("`Metadata_a@Metadata_b` == 'x@1'").tolist() == [True, False, False]
    with pytest.raises(UserError, match="no column 'Metadata_c'"):
        table.column("Metadata_a@Metadata_c")


def test_metadata_are_joined_by_plate_and_well_and_by_numbers(tmp_path):
    table = wells(4).rename(columns={"Metadata_Plate": "Image_Metadata_Plate"})
    table.loc[2, "Metadata_Well"] = "b2"
    table.to_csv(tmp_path / "t.csv", index=False)
    sites = pd.DataFrame(
        {
            "Plate_Name": ["007"] * 6 + [""],
            "well": ["a1", "a1", "A02", "B2", "A04", "A04", ""],
            "compound": ["DMSO", "DMSO", "x", "y", "x", "x", "none"],
            "dose": ["0.0", "0.0", "3.000", "0.10", "1e-5", "1e-5", "9"],
            "file": ["1", "2", "3", "4", "5", "6", "7"],
        }
    )
    sites.to_csv(tmp_path / "sites.csv", index=False)
    pd.DataFrame(
        {"Compound": ["x", "y", "x"], "dose": ["3", ".1", "0.00001"], "moa": ["m1", "m2", "m3"]}
    ).to_csv(tmp_path / "moa.tsv", index=False, sep="\t")
    joins = [
        read_join(tmp_path / "sites.csv", "Plate=Plate_Name,WELL"),
        read_join(tmp_path / "moa.tsv", "compound,Metadata_Dose=dose"),
    ]
    found = read_profiles([tmp_path / "t.csv"], joins=joins)
    assert found.column("Metadata_compound").tolist() == ["DMSO", "x", "y", "x"]
    assert found.column("Metadata_dose").tolist() == ["0.0", "3.000", "0.10", "1e-5"]
    assert found.column("Metadata_moa").tolist() == ["", "m1", "m2", "m3"]
    assert "Metadata_file" not in found.metadata
    assert any("1 columns say different things of one" in note for note in found.notes)
    assert any("1 of 4 rows have no compound,Metadata_Dose there" in note for note in found.notes)
    assert found.features.shape == (4, 3)


def test_joins_that_fit_nothing(tmp_path):
    wells(4).to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"plate": ["8"], "well": ["A01"], "x": ["1"]}).to_csv(
        tmp_path / "m.csv", index=False
    )
    with pytest.raises(UserError, match="no profile has a plate,well of this table, such as 8"):
        read_profiles([tmp_path / "t.csv"], joins=[read_join(tmp_path / "m.csv", "plate,well")])
    with pytest.raises(UserError, match="no column 'plat'"):
        read_join(tmp_path / "m.csv", "plat")
    with pytest.raises(UserError, match="profiles: no column 'site'"):
        read_profiles([tmp_path / "t.csv"], joins=[read_join(tmp_path / "m.csv", "site=x")])
    with pytest.raises(UsageError, match="columns such as plate,well"):
        read_join(tmp_path / "m.csv", "plate,")
    with pytest.raises(UsageError, match="1 --metadata and 0 --on found"):
        pair_joins([tmp_path / "m.csv"], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3.000000", "3"), ("3", "3"), ("0012", "0012"), ("0.30", "0.3"), ("1e-5", "1e-05"),
     (" x.y ", "x.y"), ("12E4", "12E4"), ("nan", "nan"), ("1.0e+2", "100")],
)  # fmt: skip
def test_numbers_are_compared_as_numbers_and_names_as_texts(text, expected):
    assert canonical(text) == expected


def test_texts_that_are_no_metadata_are_named(tmp_path):
    names = ["Metadata_x", "f0", "f1", "Image_FileName_DNA", "comment"]
    found = sort_columns("t.csv", names, [False, True, False, False, False])
    assert found.notes == ("not taken as features, they hold texts: f1, comment",)
    table = wells().astype({"f1": object})
    table.loc[3, "f1"] = "abc"
    table.to_csv(tmp_path / "t.csv", index=False)
    assert read_profiles([tmp_path / "t.csv"]).notes == (
        "not taken as features, they hold texts: f1",
    )


def test_a_table_that_is_given_twice_is_refused(tmp_path):
    wells().to_csv(tmp_path / "t.csv", index=False)
    other = tmp_path / "x" / ".." / "t.csv"
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError, match=r"t.csv: given twice, its rows would count twice"):
        read_profiles([tmp_path / "t.csv", other])


def test_other_files_are_no_tables(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.zeros((3, 2)))
    with pytest.raises(UserError, match=r"x.npz: .*single cells.*aggregate --table FOLDER"):
        read_profiles([tmp_path / "x.npz"])
    (tmp_path / "x.csv").write_bytes(b"PK\x93\xa1")
    with pytest.raises(
        UserError, match=r"x.csv: not a readable table \(no text in UTF-8, CSV, TSV"
    ):
        read_profiles([tmp_path / "x.csv"])


def test_single_cells_of_our_own_are_no_profiles(tmp_path):
    cells = wells().assign(status=1, x_px=2.0, features=[[0.0, 1.0]] * 7)
    path = tmp_path / "cells.parquet"
    cells.to_parquet(path)
    with pytest.raises(UserError, match=r"cells.parquet: .*single cells.*aggregate --table"):
        read_profiles([path])
    index = tmp_path / "index.parquet"
    wells().assign(status=1)[["Metadata_Plate", "Metadata_Well", "status"]].to_parquet(index)
    with pytest.raises(UserError, match="no feature column"):
        read_profiles([index])
