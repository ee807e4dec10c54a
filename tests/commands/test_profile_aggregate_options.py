"""`cellml profile aggregate`: rules of selection, TVN, quality by plate, plates of the project."""

import io
import re

import numpy as np
import pandas as pd
import pycytominer
import pytest
from rich.console import Console

from cellml.commands.profile_aggregate import AggregateOptions, run
from cellml.commands.profile_selection import parse_rules, read_blocklist
from cellml.data.cell_export import cell_rows
from cellml.data.feature_files import FeatureWriter
from cellml.errors import UsageError, UserError
from cellml.profiling.select import BLOCKLIST
from cellml.profiling.tvn import tvn
from tests.data import painting

CONTROL = "Metadata_treatment == 'DMSO'"
NAMES = ["Cells_a", "Cells_b", "Cells_c", "Nuclei_Granularity_14_ER", "Nuclei_d", "Nuclei_e"]


def screen(*, failed: bool = False) -> pd.DataFrame:
    """Two plates of 12 wells, 6 of them controls, in two batches that differ."""
    rng = np.random.default_rng(0)
    rows = []
    for p, plate in enumerate(("001", "002")):
        for w in range(12):
            values = rng.normal(size=6) * (1 + p * np.arange(6)) + (w % 3 == 1) * 2
            values[1] = values[0] * 1.5 + 0.01 * rng.normal()
            values[4] = 7.0
            if failed and p and w < 5:
                values = values + 500 * (w + 1) * rng.normal(size=6)
            rows.append([plate, f"C{w + 1:02d}", "DMSO" if w % 2 else f"drug{w % 3}", f"b{p}",
                         *values])  # fmt: skip
    columns = ["Metadata_Plate", "Metadata_Well", "Metadata_treatment", "Metadata_batch", *NAMES]
    return pd.DataFrame(rows, columns=columns)


def aggregated(tmp_path, table: pd.DataFrame, **options) -> tuple[pd.DataFrame, str]:
    table.to_csv(tmp_path / "t.csv", index=False)
    console = Console(file=io.StringIO(), width=300)
    given = {"inputs": [str(tmp_path / "t.csv")], "out": tmp_path / "out", **options}
    assert run(AggregateOptions(None, **given), console) == 0
    assert isinstance(console.file, io.StringIO)
    return pd.read_parquet(tmp_path / "out" / "well.parquet"), console.file.getvalue()


def features(wells: pd.DataFrame) -> list[str]:
    return [name for name in wells if not name.startswith("Metadata_")]


def test_features_are_selected_as_pycytominer_does(tmp_path):
    table = screen()
    rules = ["variance_threshold", "correlation_threshold", "drop_na_columns", "blocklist"]
    expected = pycytominer.feature_select(table, operation=rules)
    wells, text = aggregated(tmp_path, table, select_features=True)
    assert features(wells) == features(expected)
    assert len(features(wells)) == 3
    assert "blocklist: 1 feature dropped (the first: Nuclei_Granularity_14_ER)" in text
    assert "variance_threshold: 1 feature dropped (the first: Nuclei_d)" in text


def test_rules_and_a_blocklist_of_ones_own(tmp_path):
    table = screen()
    (tmp_path / "list.csv").write_text("blocklist\nCells_c\n\nCells_x\n")
    wells, text = aggregated(
        tmp_path, table, rules=["correlation_threshold=0.99999", "blocklist"],
        blocklist=tmp_path / "list.csv",
    )  # fmt: skip
    assert features(wells) == [name for name in NAMES if name != "Cells_c"]
    assert "blocklist: 1 feature dropped (the first: Cells_c)" in text
    wells, _ = aggregated(tmp_path, table, rules=["noise_removal=3.0"])
    within = table.groupby("Metadata_treatment")[NAMES].std(ddof=0).mean()
    assert features(wells) == within.index[within <= 3.0].tolist()
    assert len(features(wells)) < 6


def test_percentiles_of_the_controls_become_0_and_1(tmp_path):
    table = screen()
    wells, _ = aggregated(tmp_path, table, normalize="percentile", control=CONTROL)
    for plate, part in table.groupby("Metadata_Plate"):
        controls = part[part.Metadata_treatment == "DMSO"]["Cells_c"]
        low, high = np.percentile(controls, (1, 99))
        found = wells[wells.Metadata_Plate == plate]["Cells_c"]
        np.testing.assert_allclose(found, (part["Cells_c"] - low) / (high - low), rtol=1e-4)


def test_plates_are_normalised_together_on_request(tmp_path):
    table = screen()
    options = {"normalize": "standardize", "control": CONTROL, "normalize_by": "all"}
    wells, _ = aggregated(tmp_path, table, **options)
    values = table["Cells_c"].to_numpy()
    controls = values[(table.Metadata_treatment == "DMSO").to_numpy()]
    expected = (values - controls.mean()) / controls.std()
    np.testing.assert_allclose(wells["Cells_c"], expected, rtol=1e-4)
    with pytest.raises(UsageError, match="--normalize-by batch: expected one of plate, all"):
        aggregated(tmp_path, table, normalize_by="batch")


def test_a_plate_without_controls_may_be_normalised_with_the_others(tmp_path):
    table = screen()
    lost = (table.Metadata_Plate == "002") & (table.Metadata_treatment == "DMSO")
    table.loc[lost, "Metadata_treatment"] = "drug9"
    with pytest.raises(UserError, match="plate 002: no control well"):
        aggregated(tmp_path, table, normalize="standardize", control=CONTROL)
    options = {"normalize": "standardize", "control": CONTROL, "normalize_by": "all"}
    wells, _ = aggregated(tmp_path, table, **options)
    assert np.isfinite(wells[features(wells)].to_numpy()).all()
    assert len(wells) == 24


def test_tvn_aligns_batches_of_a_named_column(tmp_path):
    table = screen()
    options = {"sphere": "tvn", "control": CONTROL, "regularisation": 1e-3}
    wells, _ = aggregated(tmp_path, table, batch_column="Metadata_batch", **options)
    expected = tvn(
        table[NAMES].to_numpy(np.float32),
        (table.Metadata_treatment == "DMSO").to_numpy(),
        (table.Metadata_batch == "b1").to_numpy().astype(int),
        regularisation=1e-3,
    )
    assert features(wells) == [f"PC_{i + 1}" for i in range(5)]  # one feature is constant
    np.testing.assert_allclose(wells[features(wells)], expected, rtol=1e-3, atol=1e-3)
    other = table.assign(Metadata_batch=["b0", "b1"] * 12)
    other.loc[other.Metadata_treatment == "DMSO", "Metadata_batch"] = ["b0", "b1"] * 6
    differently, _ = aggregated(tmp_path, other, batch_column="Metadata_batch", **options)
    assert not np.allclose(wells[features(wells)], differently[features(wells)], atol=0.05)
    with pytest.raises(UserError, match="no column 'Metadata_bach'"):
        aggregated(tmp_path, table, batch_column="Metadata_bach", **options)


def test_a_plate_that_failed_as_a_whole_is_named(tmp_path):
    _, text = aggregated(tmp_path, screen(failed=True))
    n = re.search(r"plate 002: (\d+) of 12 wells lie apart; it may have failed as a whole", text)
    assert n is not None
    assert int(n[1]) >= 5
    plates = pd.read_csv(tmp_path / "out" / "plates.csv", dtype=str)
    assert plates.Metadata_Plate.tolist() == ["002", "001"]
    assert plates.n_outliers.tolist() == [n[1], "0"]
    assert plates.n_wells.tolist() == ["12", "12"]
    _, text = aggregated(tmp_path, screen())
    assert "it may have failed" not in text
    # where wells of both plates lie apart alike, they are strong treatments
    twin = screen(failed=True)
    twin.loc[:11, NAMES] = twin.loc[12:, NAMES].to_numpy()
    _, text = aggregated(tmp_path, twin)
    assert "it may have failed" not in text
    plates = pd.read_csv(tmp_path / "out" / "plates.csv")
    assert (plates.n_outliers > 3).all()


def test_one_missing_number_is_no_reason_to_look_at_a_well(tmp_path):
    table = pd.concat([screen()] * 2, ignore_index=True)
    table["Metadata_Well"] = [f"{r}{c:02d}" for r in "AB" for c in range(1, 25)]
    names = [f"Cells_n{i}" for i in range(30)]
    rng = np.random.default_rng(1)
    table = table.assign(**{name: rng.normal(size=48) for name in names})
    table.loc[3, "Cells_n5"] = np.nan
    table.loc[7, names[:20]] = np.nan
    aggregated(tmp_path, table, control=CONTROL)
    quality = pd.read_csv(tmp_path / "out" / "quality.csv", dtype=str)
    missing = quality[quality.reason == "features are missing"]
    assert missing.Metadata_Well.tolist() == ["A08"]
    strengths = pd.read_csv(tmp_path / "out" / "strengths.csv")
    assert strengths.strength_mean.notna().all()


def test_plates_that_the_project_has_no_more_are_left_out(tmp_path):
    root = painting.write_project(tmp_path / "project")
    folder = root / "outputs" / "exp" / "features"
    for plate, names in {"007": ("a", "b"), "P-2": ("a", "b"), "gone": ("a", "b", "c")}.items():
        writer = FeatureWriter(folder, plate, names, {})
        rows = cell_rows((plate, "A01", "1"), np.zeros((3, 2), np.float32), np.zeros(3, np.uint8))
        writer.add(rows, np.ones((3, len(names)), np.float32))
        writer.finish()
    console = Console(file=io.StringIO(), width=300)
    assert run(AggregateOptions(root, "exp"), console) == 0
    assert isinstance(console.file, io.StringIO)
    assert "plates that are not in the project are left out: gone" in console.file.getvalue()
    wells = pd.read_parquet(root / "outputs" / "exp" / "profiles" / "well.parquet")
    assert set(wells.Metadata_Plate) == {"007", "P-2"}
    (folder / "P-2.parquet").unlink()
    assert run(AggregateOptions(root, "exp"), console) == 0
    assert "plates of the project without features: P-2" in console.file.getvalue()
    (folder / "007.parquet").unlink()
    with pytest.raises(UserError, match="features of gone, which the project does not have"):
        run(AggregateOptions(root, "exp"), console)


def test_without_control_value_a_treatment_called_none_is_no_control(tmp_path):
    root = painting.write_project(tmp_path / "project")
    config = root / "inputs" / "config" / "config.json"
    config.write_text(config.read_text().replace('"DMSO"', "null"))
    table = screen().replace({"Metadata_treatment": {"DMSO": "None"}})
    table.to_csv(tmp_path / "t.csv", index=False)
    options = {"inputs": [str(tmp_path / "t.csv")], "out": tmp_path / "out"}
    with pytest.raises(UserError, match=r"config.json: no control_value.*no well is a control"):
        run(AggregateOptions(root, normalize="standardize", **options), Console(quiet=True))


def test_a_plate_without_wells_does_not_shift_the_others(tmp_path):
    rng = np.random.default_rng(0)
    for p, plate in enumerate(("1", "2", "3")):
        writer = FeatureWriter(tmp_path / "features", plate, ("a", "b"), {})
        for w in range(0 if plate == "1" else 6):
            rows = cell_rows((plate, f"A{w + 1:02d}", "1"), np.zeros((2, 2), np.float32),
                             np.zeros(2, np.uint8), treatment="DMSO")  # fmt: skip
            writer.add(rows, (rng.normal(size=(2, 2)) + 10 * p).astype(np.float32))
        writer.finish()
    options = AggregateOptions(
        None, inputs=[str(tmp_path / "features")], out=tmp_path / "out", normalize="standardize",
        control=CONTROL,
    )  # fmt: skip
    assert run(options, Console(quiet=True)) == 0
    wells = pd.read_parquet(tmp_path / "out" / "well.parquet")
    means = wells.groupby("Metadata_Plate")[["a", "b"]].mean()
    np.testing.assert_allclose(means, 0, atol=1e-5)


def test_rules_that_are_none(tmp_path):
    assert parse_rules(["drop_outliers=9", "blocklist"], normalised=True) == (
        ("drop_outliers", "blocklist"), {"drop_outliers": {"max_absolute": 9.0}},
    )  # fmt: skip
    assert "drop_outliers" not in parse_rules([], normalised=False)[0]
    for text, message in (("variance", "expected one of variance_threshold"),
                          ("blocklist=3", "a rule and a number"),
                          ("drop_outliers=x", "a rule and a number")):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            parse_rules([text], normalised=True)
    assert read_blocklist(None) == BLOCKLIST
    (tmp_path / "empty").write_text("blocklist\n")
    with pytest.raises(UserError, match="no name of a feature"):
        read_blocklist(tmp_path / "empty")
    with pytest.raises(UserError, match="no readable list"):
        read_blocklist(tmp_path / "none")


def test_rows_of_a_table_are_not_called_cells(tmp_path):
    assert "24 rows, 24 wells (12 controls)" in aggregated(tmp_path, screen(), control=CONTROL)[1]
    counted = screen().assign(Metadata_Count_Cells=3)
    assert "72 cells, 24 wells" in aggregated(tmp_path, counted)[1]
