"""Tables as a source of `cellml profile aggregate`: rows of cells in little memory."""

import io
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cellml.commands.profile_aggregate import AggregateOptions, run
from cellml.commands.profile_table_source import TableSource
from cellml.data.profile_joins import read_join
from cellml.errors import UserError

NAMES = ["Cells_a", "Nuclei_b", "Nuclei_c"]


def cells(n_per_site: int = 5, seed: int = 0) -> pd.DataFrame:
    """Two plates of three wells with two sites; a row a cell, some numbers missing."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "Metadata_Plate": plate,
            "Metadata_Well": f"B{well + 1:02d}",
            "Metadata_Site": str(site),
            "Metadata_treatment": f"drug{well}",
            "Metadata_ObjectNumber": str(k),
            "ObjectNumber": k,
            **dict(zip(NAMES, rng.normal(size=3) + well, strict=True)),
        }
        for plate in ("007", "P-2")
        for well in range(3)
        for site in range(2)
        for k in range(n_per_site)
    ]
    table = pd.DataFrame(rows)
    table.loc[::7, "Nuclei_c"] = np.nan
    return table


def aggregated(out, *inputs, **options) -> tuple[pd.DataFrame, str]:
    console = Console(file=io.StringIO(), width=200)
    given = {"project": None, "inputs": [str(p) for p in inputs], "out": out, **options}
    assert run(AggregateOptions(**given), console) == 0
    assert isinstance(console.file, io.StringIO)
    return pd.read_parquet(out / "well.parquet"), console.file.getvalue()


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("piece_rows", [4, 1000])
def test_sites_of_cells_come_whole_whatever_the_pieces(tmp_path, shuffled, suffix, piece_rows):
    table = cells()
    if shuffled:
        table = table.sample(frac=1, random_state=3)
    path = tmp_path / f"cells{suffix}"
    if suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, row_group_size=9)
    source = TableSource([str(path)], piece_rows=piece_rows)
    assert source.names == tuple(NAMES)
    assert source.plates == ("007", "P-2")
    found = {site.key: site for plate in source.plates for site in source.sites(plate)}
    groups = table.groupby(["Metadata_Plate", "Metadata_Well", "Metadata_Site"])
    assert sorted(found) == sorted(groups.groups)
    for key, part in groups:
        np.testing.assert_allclose(found[key].features, part[NAMES], rtol=1e-6)
        # what differs from cell to cell is no fact on the site
        assert found[key].metadata == {"Metadata_treatment": part["Metadata_treatment"].iloc[0]}
        assert found[key].n_cells is None


def test_cells_to_wells_is_the_naive_median_and_mean(tmp_path):
    table = cells()
    table[table.Metadata_Plate == "007"].to_csv(tmp_path / "a.csv.gz", index=False)
    table[table.Metadata_Plate != "007"].to_parquet(tmp_path / "b.parquet")
    wells, text = aggregated(tmp_path / "out", tmp_path / "a.csv.gz", tmp_path / "b.parquet")
    keys = ["Metadata_Plate", "Metadata_Well"]
    expected = table.groupby([*keys, "Metadata_Site"])[NAMES].median().groupby(keys).mean()
    np.testing.assert_allclose(wells[NAMES], expected, rtol=1e-5)
    assert wells["Metadata_n_cells"].tolist() == [10] * 6
    assert "note: not taken as features: ObjectNumber" in text
    assert "(columns Cells_..., Nuclei_...)" in text


def test_memory_is_that_of_a_piece_and_not_of_the_table(tmp_path):
    def peak(n_per_site: int) -> int:
        path = tmp_path / f"{n_per_site}.parquet"
        cells(n_per_site).to_parquet(path)
        tracemalloc.start()
        source = TableSource([str(path)], piece_rows=500)
        n = sum(len(site.features) for plate in source.plates for site in source.sites(plate))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert n == 12 * n_per_site
        return found

    peak(50)  # whatever is imported on the way
    small, large = peak(250), peak(2500)
    assert large < 3 * small  # of ten times as many cells


def test_well_tables_with_few_numbers_missing_are_averaged_without_them(tmp_path):
    table = cells(n_per_site=1).drop(columns=["Metadata_Site", "Metadata_ObjectNumber"])
    table = table.groupby(["Metadata_Plate", "Metadata_Well"], as_index=False).first()
    table["Metadata_treatment"] = ["x", "x", "y"] * 2
    table.loc[:, "Nuclei_c"] = [1.0, np.nan, np.inf, 4.0, 5.0, 6.0]
    table.to_csv(tmp_path / "t.csv", index=False)
    wells, _ = aggregated(tmp_path / "out", tmp_path / "t.csv")
    assert wells["Nuclei_c"].isna().tolist() == [False, True, True, False, False, False]
    treatments = pd.read_parquet(tmp_path / "out" / "treatment.parquet")
    np.testing.assert_allclose(treatments["Nuclei_c"], [(1 + 4 + 5) / 3, 6])
    # before sphering, features that more than 5 % of the wells lack are dropped, others filled in
    control = "Metadata_treatment == 'x'"
    wells, text = aggregated(tmp_path / "s", tmp_path / "t.csv", sphere="zca", control=control)
    assert list(wells.columns[-2:]) == ["Cells_a", "Nuclei_b"]
    assert "often missing: 1 feature dropped (the first: Nuclei_c)" in text


def test_treatments_of_joined_tables_and_columns(tmp_path):
    table = (
        cells()
        .drop(columns="Metadata_treatment")
        .rename(columns={"Metadata_Plate": "Image_Metadata_Plate"})
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    pd.DataFrame({"Well": ["b1", "B02", "B3"], "compound": ["x", "x", ""], "dose": ["1", "2", ""]}
                 ).to_csv(tmp_path / "map.csv", index=False)  # fmt: skip
    options = {
        "metadata": [tmp_path / "map.csv"],
        "on": ["well"],
        "treatment_column": "Metadata_compound@Metadata_dose",
    }
    wells, _ = aggregated(tmp_path / "out", tmp_path / "t.csv", **options)
    assert wells["Metadata_treatment"].tolist() == ["x@1", "x@2", ""] * 2
    joins = [read_join(tmp_path / "map.csv", "well")]
    first = TableSource([str(tmp_path / "t.csv")], joins=joins).fingerprint("007")
    pd.DataFrame({"Well": ["B1"], "dose": ["5"]}).to_csv(tmp_path / "map.csv", index=False)
    joins = [read_join(tmp_path / "map.csv", "well")]
    assert TableSource([str(tmp_path / "t.csv")], joins=joins).fingerprint("007") != first


def test_tables_that_cannot_be_used(tmp_path):
    table = cells()
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="no column 'Metadata_drug'"):
        TableSource([str(tmp_path / "t.csv")], treatment_column="Metadata_drug")
    table.loc[3, "Metadata_treatment"] = "other"
    table.to_csv(tmp_path / "t.csv", index=False)
    source = TableSource([str(tmp_path / "t.csv")])
    with pytest.raises(UserError, match="plate 007, well B01: two treatments, 'drug0' and 'other'"):
        list(source.sites("007"))
