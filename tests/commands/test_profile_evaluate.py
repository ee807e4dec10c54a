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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_column": "Metadata_mao"}, "no column 'Metadata_mao' .did you mean 'Metadata_moa'"),
        ({"control": "Metadata_rol == 'x'"}, "cannot be read"),
        ({"control": "Metadata_role"}, "a comparison such as"),
        ({"control": "@pd.read_csv('x')"}, "was not expected"),
        ({"control": "Metadata_role == 'Control'"}, "no row matches; Metadata_role is 'treatm"),
        ({"control": "Metadata_role == 0"}, "holds texts: 'control', 'treatment'"),
        ({"label_column": "Metadata_mao", "level": "well"}, "no column 'Metadata_mao'"),
        ({"treatment_column": "Metadata_moa@Metadata_dos"}, "no column 'Metadata_dos'"),
        ({"compound_column": "Metadata_drug"}, "no column 'Metadata_drug'"),
        ({"batch_column": "Metadata_bach"}, "no column 'Metadata_bach'"),
        ({"normalize": "percentile"}, "--normalize percentile: --control has to choose some rows"),
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
    with pytest.raises(UsageError, match="--normalize z: expected one of none, standardize"):
        _run(tmp_path, _table(plates=1), normalize="z")
    with pytest.raises(UsageError, match="--ties none: expected one of threshold, expected"):
        _run(tmp_path, _table(plates=1), ties="none")
    with pytest.raises(UsageError, match="--p-values -1"):
        _run(tmp_path, _table(plates=1), p_values=-1)
    with pytest.raises(UsageError, match="--level plate: expected one of treatment, well, site"):
        _run(tmp_path, _table(plates=1), level="plate")
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
