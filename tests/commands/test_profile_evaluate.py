"""`cellml profile evaluate`: tables in, scores out; a naive count; what is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cellml.commands.profile_evaluate import EvaluateOptions, run
from cellml.errors import UsageError, UserError

CONTROL = 'Metadata_role == "control"'


def _table(seed: int = 0, *, plates: int = 2, nuisance: float = 3.0) -> pd.DataFrame:
    """Wells of 6 treatments in 3 mechanisms and of controls; a strong direction says nothing."""
    rng = np.random.default_rng(seed)
    mechanisms = rng.normal(size=(3, 8))
    direction = rng.normal(size=8)
    rows = []
    for plate in range(plates):
        for well in range(24):
            treated = well < 12
            treatment = well % 6
            signal = mechanisms[treatment % 3] * 1.5 if treated else 0
            features = signal + rng.normal(size=8) * 0.4 + nuisance * rng.normal() * direction
            rows.append(
                {
                    "Metadata_Plate": f"00{plate}",
                    "Metadata_Well": f"A{well + 1:02d}",
                    "Metadata_treatment": f"drug{treatment}" if treated else "DMSO",
                    "Metadata_moa": f"moa{treatment % 3}" if treated else "",
                    "Metadata_role": "treatment" if treated else "control",
                    **{f"f{i}": v for i, v in enumerate(features)},
                }
            )
    return pd.DataFrame(rows)


def _run(tmp_path: Path, table: pd.DataFrame, **options) -> dict:
    path = tmp_path / "wells.csv"
    table.to_csv(path, index=False)
    return run(EvaluateOptions([str(path)], **options), Console(quiet=True))


def test_treatment_level_equals_a_naive_average_precision(tmp_path: Path) -> None:
    table = _table()
    # three treatments a mechanism, so that every query has two right answers
    table["Metadata_moa"] = table["Metadata_moa"].replace({"moa2": "moa1"})
    found = _run(tmp_path, table, control=CONTROL)
    treated = table[table.Metadata_role == "treatment"]
    names = [f"f{i}" for i in range(8)]
    profiles = treated.groupby("Metadata_treatment")[names].mean()
    moa = treated.groupby("Metadata_treatment")["Metadata_moa"].first().to_numpy()
    unit = profiles.to_numpy() / np.linalg.norm(profiles, axis=1, keepdims=True)
    precisions = []
    for i in range(6):
        others = [j for j in np.argsort(-(unit @ unit[i])) if j != i]
        right = [moa[j] == moa[i] for j in others]
        if sum(right) >= 2:
            at = [sum(right[: k + 1]) / (k + 1) for k in range(5) if right[k]]
            precisions.append(np.mean(at))
    assert found["map"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert found["n_queries"]["map"] == len(precisions) == 4
    assert found["n_controls"] == 24


def test_sphering_by_the_controls_raises_the_scores(tmp_path: Path) -> None:
    table = _table()
    raw = _run(tmp_path, table, control=CONTROL, json_file=tmp_path / "raw.json")
    sphered = _run(tmp_path, table, control=CONTROL, sphere="zca", regularisation=1e-2)
    assert sphered["precision_at_k"]["1"] > raw["precision_at_k"]["1"]
    assert "24 controls" in sphered["how"]["sphering"] or "24 " in sphered["how"]["sphering"]
    written = json.loads((tmp_path / "raw.json").read_text())
    for key in ("map", "map_interpolated", "folds_of_enrichment", "precision_at_k"):
        assert key in written
        assert key in written["moshkov2024"]
        assert written["how"][key]
    assert written["precision_at_k"]["1"] == raw["precision_at_k"]["1"]


def test_well_level_finds_replicates_but_never_the_own_well(tmp_path: Path) -> None:
    table = _table(nuisance=0.0)
    found = _run(tmp_path, table, control=CONTROL, level="well")
    assert found["n_profiles"] == 24
    assert found["precision_at_k"]["1"] > 0.3
    twice = pd.concat([table, table])  # two sites of equal features in every well
    site = _run(tmp_path, twice, control=CONTROL, level="site")
    assert site["n_profiles"] == 48
    # a site's twin in the own well would be the first answer of every query
    assert site["precision_at_k"]["1"] == pytest.approx(found["precision_at_k"]["1"])
    again = _run(tmp_path, twice, control=CONTROL, level="well")
    assert again["map"] == pytest.approx(found["map"])


def test_texts_stay_texts_and_missing_values_are_noted(tmp_path: Path) -> None:
    from cellml.data.profile_tables import read_profiles

    table = _table(plates=1)
    table.loc[3, "f2"] = np.nan
    table.loc[0, "Metadata_treatment"] = "NA"
    table.to_csv(tmp_path / "a.csv.gz", index=False)
    table.drop(columns="f7").to_parquet(tmp_path / "b.parquet")
    found = read_profiles([tmp_path / "a.csv.gz", tmp_path / "b.parquet"])
    assert found.names == tuple(f"f{i}" for i in (0, 1, 3, 4, 5, 6))
    assert set(found.column("Metadata_Plate")) == {"000"}
    assert found.column("Metadata_treatment")[0] == "NA"
    assert "1 features are not in every table" in found.notes[0]
    assert "the first: f2" in found.notes[1]
    assert read_profiles([tmp_path / "b.parquet"], features_regex="f[01]").names == ("f0", "f1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "Metadata_mao"}, "no column 'Metadata_mao' .did you mean 'Metadata_moa'"),
        ({"control": "Metadata_rol == 'x'"}, "cannot be read"),
        ({"control": "Metadata_role"}, "a comparison such as"),
        ({"control": "@pd.read_csv('x')"}, "was not expected"),
        ({"sphere": "zca"}, "--control has to choose at least 2 rows, found 0"),
        ({"control": "Metadata_role != 'x'"}, "every row is a control"),
        ({"features_regex": "zzz"}, "no feature column in which 'zzz' is found"),
        ({"features_regex": "("}, "--features-regex"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _run(tmp_path, _table(plates=1), **options)


def test_options_and_tables_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--sphere white: expected one of none, zca"):
        _run(tmp_path, _table(plates=1), sphere="white")
    with pytest.raises(UsageError, match="--lambda -1"):
        _run(tmp_path, _table(plates=1), regularisation=-1.0)
    table = _table(plates=1)
    table.loc[0, "Metadata_moa"] = "moa9"
    with pytest.raises(UserError, match="'drug0' has two values of Metadata_moa"):
        _run(tmp_path, table)
    table = _table(plates=1)
    table.loc[1, "Metadata_Well"] = "A01"
    with pytest.raises(UserError, match="well 000/A01 has two treatments"):
        _run(tmp_path, table)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"broken\.parquet: not a readable table"):
        run(EvaluateOptions([str(tmp_path / "broken.parquet")]), Console(quiet=True))
    with pytest.raises(UserError, match="no such file"):
        run(EvaluateOptions([str(tmp_path / "none.csv")]), Console(quiet=True))


def test_cpjump1_sphering_raises_the_map(shared_data: Path, tmp_path: Path) -> None:
    """Four plates: raw and sphered mAP are near what was measured before on seven."""
    folder = shared_data / "profiles" / "cpjump1"
    files = sorted(folder.glob("BR*.csv.gz"))
    if not files:
        pytest.skip(f"no CPJUMP1 profiles in {folder}")
    moa = pd.read_csv(folder / "JUMP-Target-1_compound_metadata_moa.tsv", sep="\t")
    label = dict(zip(moa["broad_sample"], moa["moa_list"], strict=True))
    wells = pd.concat([pd.read_csv(file) for file in files], ignore_index=True)
    known = pd.DataFrame(
        {
            "Metadata_moa": wells["Metadata_broad_sample"].map(label),
            "Metadata_treatment": wells["Metadata_broad_sample"].fillna("DMSO"),
            "Metadata_role": np.where(
                wells["Metadata_control_type"] == "negcon", "control", "treatment"
            ),
        }
    )
    features = wells[[c for c in wells if not c.startswith("Metadata_")]]
    names = wells[["Metadata_Plate", "Metadata_Well"]]
    path = tmp_path / "cpjump1.parquet"
    pd.concat([known, names, features], axis=1).to_parquet(path)
    console = Console(quiet=True)
    raw = run(EvaluateOptions([str(path)], control=CONTROL), console)
    sphered = run(
        EvaluateOptions([str(path)], control=CONTROL, sphere="zca", regularisation=0.1), console
    )
    assert raw["map"] == pytest.approx(0.1294, abs=5e-4)
    assert sphered["map"] == pytest.approx(0.1537, abs=5e-4)
    assert raw["n_queries"]["map"] == 117
