"""`cellml profile aggregate`: naive medians and means, three kinds of input, resumed runs."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from rich.console import Console

from cellml.commands import profile_sites
from cellml.commands.profile_aggregate import AggregateOptions, run
from cellml.data.cell_export import cell_rows
from cellml.data.crops import Status
from cellml.data.feature_files import FeatureWriter
from cellml.data.feature_npz import export_npz
from cellml.data.profile_tables import read_profiles
from cellml.errors import UsageError, UserError
from tests.data import painting

NAMES = ("a", "b", "c")
OK, EDGE = np.uint8(Status.OK), np.uint8(Status.EDGE)


def _screen(folder: Path) -> pd.DataFrame:
    """Two plates of 8 wells with 2 sites; 4 controls a plate; some cells on the edge, some NaN."""
    rng = np.random.default_rng(0)
    tables = []
    for p, plate in enumerate(("007", "P-2")):
        writer = FeatureWriter(folder, plate, NAMES, {"model": "test"})
        for w in range(8):
            well, drug = f"B{w + 1:02d}", ("DMSO" if w < 4 else f"drug{w % 2}")
            for site in ("1", "2"):
                n = 3 + (w + p) % 3
                values = rng.normal(size=(n, 3)) + p + (w >= 4) * np.array([0, 2 + w % 2, 0])
                values = values.astype(np.float32)
                values[0, 2] = np.nan
                status = np.where(np.arange(n) == 1, EDGE, OK)
                centres = rng.uniform(0, 50, (n, 2)).astype(np.float32)
                metadata = {"Metadata_moa": "" if w < 4 else f"moa{w % 2}", "Split": "0"}
                rows = cell_rows((plate, well, site), centres, status, treatment=drug,
                                 metadata=metadata)  # fmt: skip
                writer.add(rows, values)
                table = pd.DataFrame(values, columns=list(NAMES))
                tables.append(table.assign(plate=plate, well=well, site=site, drug=drug, st=status))
        writer.finish()
    return pd.concat(tables, ignore_index=True)


def _run(out: Path, *inputs: object, **options) -> str:
    console = Console(file=io.StringIO(), width=200)
    given = {"project": None, "inputs": [str(path) for path in inputs], "out": out, **options}
    assert run(AggregateOptions(**given), console) == 0
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _naive(cells: pd.DataFrame, level: str) -> pd.DataFrame:
    found = cells.groupby(["plate", "well", "site", "drug"])[list(NAMES)].median()
    if level == "site":
        return found
    found = found.groupby(["plate", "well", "drug"]).mean()
    return found if level == "well" else found.groupby("drug").mean()


@pytest.mark.parametrize("edge", [False, True])
def test_medians_and_means_are_the_naive_ones(tmp_path: Path, edge: bool) -> None:
    cells = _screen(tmp_path / "features")
    status = ("ok", "edge") if edge else ("ok",)
    _run(tmp_path / "out", tmp_path / "features", status=status)
    kept = cells if edge else cells[cells.st == OK]
    for level in ("site", "well", "treatment"):
        found = pd.read_parquet(tmp_path / "out" / f"{level}.parquet")
        np.testing.assert_allclose(found[list(NAMES)], _naive(kept, level), rtol=1e-5, atol=1e-6)
        assert found["Metadata_n_cells"].sum() == len(kept)
        assert (found[list(NAMES)].dtypes == np.float32).all()
    assert list(found.Metadata_treatment) == ["DMSO", "drug0", "drug1"]
    assert list(found.Metadata_moa) == ["", "moa0", "moa1"]
    assert list(found.Metadata_n_wells) == ["8", "4", "4"]
    wells = read_profiles([tmp_path / "out" / "well.parquet"])
    assert set(wells.column("Metadata_Plate")) == {"007", "P-2"}
    assert set(wells.column("Metadata_Split")) == {"0"}
    assert wells.names == NAMES


def test_npz_and_tables_give_the_same(tmp_path: Path) -> None:
    _screen(tmp_path / "features")
    _run(tmp_path / "parquet", tmp_path / "features")
    for plate in ("007", "P-2"):
        export_npz(tmp_path / "features", tmp_path / "npz", plate, lambda: None)
    _run(tmp_path / "npz_out", tmp_path / "npz")
    sites = tmp_path / "parquet" / "site.parquet"
    pd.read_parquet(sites).to_csv(tmp_path / "sites.csv", index=False)
    _run(tmp_path / "table_out", tmp_path / "sites.csv")
    _run(tmp_path / "wells_out", tmp_path / "parquet" / "well.parquet")
    for level in ("site", "well", "treatment"):
        one = pd.read_parquet(tmp_path / "parquet" / f"{level}.parquet")
        for other in ("npz_out", "table_out", "wells_out"):
            path = tmp_path / other / f"{level}.parquet"
            if (other, level) == ("wells_out", "site"):
                assert not path.exists()
                continue
            two = pd.read_parquet(path)
            values = [c for c in two.columns if not c.startswith("Metadata_")]
            np.testing.assert_allclose(one[list(NAMES)], two[values], rtol=1e-5, atol=1e-6)
            assert list(one.Metadata_treatment) == list(two.Metadata_treatment)
            assert list(one.Metadata_n_cells) == list(two.Metadata_n_cells), other


def test_controls_of_a_plate_become_the_origin(tmp_path: Path) -> None:
    _screen(tmp_path / "features")
    control = 'Metadata_treatment == "DMSO"'
    _run(tmp_path / "out", tmp_path / "features", normalize="standardize", control=control)
    wells = pd.read_parquet(tmp_path / "out" / "well.parquet")
    of_plate = wells[wells.Metadata_treatment == "DMSO"].groupby("Metadata_Plate")[list(NAMES)]
    np.testing.assert_allclose(of_plate.mean(), 0, atol=1e-5)
    np.testing.assert_allclose(of_plate.std(ddof=0), 1, rtol=1e-4)
    sites = pd.read_parquet(tmp_path / "out" / "site.parquet")
    means = sites.groupby(["Metadata_Plate", "Metadata_Well"])[list(NAMES)].mean()
    np.testing.assert_allclose(means, wells[list(NAMES)], atol=1e-5)
    strengths = pd.read_csv(tmp_path / "out" / "strengths.csv")
    assert list(strengths.Metadata_treatment) == ["drug1", "drug0"]
    assert list(strengths.n_wells) == [4, 4]
    np.testing.assert_allclose(strengths.strength_mean * 4, strengths.strength_sum, rtol=1e-5)
    text = _run(
        tmp_path / "zca", tmp_path / "features", control=control, sphere="zca",
        regularisation=1e-3, normalize="mad_robustize", select_features=True,
    )  # fmt: skip
    assert "16 wells (8 controls)" in text
    zca = pd.read_parquet(tmp_path / "zca" / "well.parquet")
    values = zca.loc[zca.Metadata_treatment == "DMSO"].filter(regex="^[abc]$").to_numpy(float)
    np.testing.assert_allclose(np.cov(values.T, ddof=0), np.eye(values.shape[1]), atol=0.05)


def test_killed_and_resumed_is_the_same_to_the_byte(tmp_path: Path, monkeypatch) -> None:
    _screen(tmp_path / "features")
    _run(tmp_path / "whole", tmp_path / "features")
    original, seen = profile_sites.write_profiles, []

    def killed(path: Path, *arguments) -> None:
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(path)
        original(path, *arguments)

    monkeypatch.setattr(profile_sites, "write_profiles", killed)
    options = AggregateOptions(None, inputs=[str(tmp_path / "features")], out=tmp_path / "killed")
    assert run(options, Console(quiet=True)) == 130
    assert not (tmp_path / "killed" / "well.parquet").exists()
    monkeypatch.setattr(profile_sites, "write_profiles", original)
    assert "sites of 1 plate are there" in _run(tmp_path / "killed", tmp_path / "features")
    files = {
        folder: {
            path.relative_to(tmp_path / folder): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        for folder in ("whole", "killed")
    }
    assert files["whole"] == files["killed"]
    assert len(files["whole"]) == 9


def test_changed_features_are_read_again(tmp_path: Path) -> None:
    _screen(tmp_path / "features")
    _run(tmp_path / "out", tmp_path / "features")
    assert "sites of 2 plates are there" in _run(tmp_path / "out", tmp_path / "features")
    (tmp_path / "features" / "007.parquet").unlink()
    rows = cell_rows(("007", "A01", "1"), np.zeros((3, 2), np.float32), np.zeros(3, np.uint8))
    writer = FeatureWriter(tmp_path / "features", "007", NAMES, {})
    writer.add(rows, np.full((3, 3), 5, np.float32))
    writer.finish()
    assert "sites of 1 plate are there" in _run(tmp_path / "out", tmp_path / "features")
    wells = pd.read_parquet(tmp_path / "out" / "well.parquet")
    assert (wells[wells.Metadata_Plate == "007"][list(NAMES)] == 5).to_numpy().all()
    assert "plates are there" not in _run(tmp_path / "out", tmp_path / "features", status=("edge",))


def test_wells_with_few_cells_are_listed_not_used(tmp_path: Path) -> None:
    cells = _screen(tmp_path / "features")
    _run(tmp_path / "out", tmp_path / "features", min_cells=3)
    kept = cells[cells.st == OK]
    counts = kept.groupby(["plate", "well", "site"]).size()
    assert len(pd.read_parquet(tmp_path / "out" / "site.parquet")) == (counts >= 3).sum()
    best = counts.groupby(["plate", "well"]).max()
    wells = pd.read_parquet(tmp_path / "out" / "well.parquet")
    assert len(wells) == (best >= 3).sum() < 16
    quality = pd.read_csv(tmp_path / "out" / "quality.csv", dtype=str)
    few = quality[quality.reason == "no site with 3 cells or more"]
    expected = [key for key, n in best.items() if n < 3]
    assert list(zip(few.Metadata_Plate, few.Metadata_Well, strict=True)) == expected


def test_an_outlying_well_is_listed_with_its_images(tmp_path: Path) -> None:
    root = painting.write_project(tmp_path / "project")
    rng = np.random.default_rng(1)
    features = root / "outputs" / "exp" / "features"
    for plate, wells in {"007": ("A01", "B03"), "P-2": ("A01", "C12")}.items():
        writer = FeatureWriter(features, plate, NAMES, {})
        extra = [f"D{i + 1:02d}" for i in range(12)]
        for well in (*wells, *extra):
            for site in ("1", "2"):
                values = rng.normal(size=(6, 3)).astype(np.float32)
                values += np.float32(100.0 * ((plate, well) == ("007", "B03")))
                centres = np.zeros((6, 2), np.float32)
                drug = "drug.tif@1" if well in ("B03", "C12") else "DMSO"
                status = np.zeros(6, np.uint8)
                writer.add(cell_rows((plate, well, site), centres, status, treatment=drug), values)
        writer.finish()
    console = Console(quiet=True)
    options = AggregateOptions(root, "exp", normalize="robustize", workers=1)
    assert run(options, console) == 0
    quality = pd.read_csv(root / "outputs/exp/profiles/quality.csv", dtype=str)
    first = quality.iloc[0]
    assert (first.Metadata_Plate, first.Metadata_Well) == ("007", "B03")
    assert float(first.distance) > float(first.limit)
    assert "component 1" in first.reason
    assert (root / first.DNA).is_file()
    assert (root / first.ER).is_file()
    # the project's control_value, DMSO, is the default
    strengths = pd.read_csv(root / "outputs/exp/profiles/strengths.csv")
    assert list(strengths.Metadata_treatment) == ["drug.tif@1"]


def test_a_feature_without_numbers_and_infinite_ones(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path / "features", "P", NAMES, {})
    for well in ("A01", "A02", "A03"):
        values = np.array([[1, np.nan, 1], [2, np.nan, np.inf], [9, np.inf, 3]], np.float32)
        rows = cell_rows(("P", well, "1"), np.zeros((3, 2), np.float32), np.zeros(3, np.uint8))
        writer.add(rows, values)
    writer.finish()
    text = _run(tmp_path / "out", tmp_path / "features")
    assert "no number: 1 feature dropped (the first: b)" in text
    wells = pd.read_parquet(tmp_path / "out" / "well.parquet")
    assert wells[["a", "c"]].to_numpy().tolist() == [[2, 2]] * 3
    assert "no strengths" in text
    assert "no quality control" in text


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"normalize": "zscore"}, UsageError, "--normalize zscore: expected one of none, stand"),
        ({"sphere": "white"}, UsageError, "--sphere white"),
        ({"status": ("fine",)}, UsageError, "--status fine: expected some of ok, edge"),
        ({"regularisation": -1.0}, UsageError, "--lambda -1"),
        ({"min_cells": 0}, UsageError, "at least 1"),
        ({"features_regex": "a"}, UsageError, "--features-regex and .* are for tables"),
        ({"treatment_column": "Metadata_x"}, UsageError, "are for tables"),
        ({"experiment": "a/b"}, UsageError, "name of a folder"),
        ({"normalize": "standardize"}, UserError, "no --control given: no well is a control"),
        ({"sphere": "zca", "control": "Metadata_mao == 'x'"}, UserError, "cannot be read"),
        ({"sphere": "zca", "control": "Metadata_moa == 'x'"}, UserError, "no row matches"),
        ({"min_cells": 99}, UserError, "no site has 99 cells"),
        (
            {"normalize": "standardize", "control": 'Metadata_Plate == "007"'},
            UserError,
            "plate P-2: no control well",
        ),
    ],
)
def test_what_cannot_be_done_is_named(
    tmp_path: Path, options: dict, error: type[Exception], message: str
) -> None:
    _screen(tmp_path / "features")
    with pytest.raises(error, match=message):
        _run(tmp_path / "out", tmp_path / "features", **options)


def test_inputs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither Parquet features nor"):
        _run(tmp_path / "out", tmp_path)
    with pytest.raises(UsageError, match="without a project"):
        run(AggregateOptions(None), Console(quiet=True))
    with pytest.raises(UserError, match="cellml profile embed"):
        run(AggregateOptions(tmp_path, "exp"), Console(quiet=True))
    table = pa.table({"Metadata_Plat": ["1"], "Metadata_Well": ["A01"], "x": [1.0]}).to_pandas()
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="did you mean 'Metadata_Plat'"):
        _run(tmp_path / "out", tmp_path / "t.csv")


def test_a_well_has_one_treatment(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path / "features", "P", NAMES, {})
    for site in ("1", "2"):
        rows = cell_rows(("P", "A01", site), np.zeros((1, 2), np.float32),
                         np.zeros(1, np.uint8), treatment=f"drug{site}")  # fmt: skip
        writer.add(rows, np.ones((1, 3), np.float32))
    writer.finish()
    with pytest.raises(UserError, match="well A01: two treatments, 'drug1' and 'drug2'"):
        _run(tmp_path / "out", tmp_path / "features")
