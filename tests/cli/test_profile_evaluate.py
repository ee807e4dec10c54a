"""`cellml profile evaluate` through the command line, and the commands of docs/profiling.md."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.screens import profile

PAGE = (Path(__file__).parents[2] / "docs" / "profiling.md").read_text(encoding="utf-8")
SCORES = ("map", "map_interpolated", "folds_of_enrichment", "precision_at_k", "hits_top1pct")


def documented(start: str) -> list[str]:
    """The arguments of the documented command whose first table is called like that."""
    blocks = re.findall(r"```sh\n(cellml profile evaluate .*?)```", PAGE, re.DOTALL)
    found = [shlex.split(block.replace("\\\n", " ")) for block in blocks]
    return next(command[3:] for command in found if command[3].startswith(start))


def run_documented(start: str, folder: Path, out: Path) -> tuple[dict, str]:
    """Runs a documented command on the tables of a folder; its JSON goes to `out`."""
    arguments: list[str] = []
    for text in documented(start):
        if "*" in text:
            arguments += sorted(map(str, folder.glob(text)))
        elif (folder / text).is_file():
            arguments.append(str(folder / text))
        else:
            arguments.append(str(out) if text.endswith(".json") else text)
    code, printed = profile("evaluate", *arguments)
    assert code == 0
    return json.loads(out.read_text()), printed


def wells(seed: int, plate: str) -> pd.DataFrame:
    """A plate of 8 treatments in 2 mechanisms (one has both) and 12 controls."""
    rng = np.random.default_rng(seed)
    centre = np.random.default_rng(99).normal(size=(2, 5)) * 2
    rows = []
    for well in range(20):
        treated = well < 8
        moas = {0: [0], 1: [1], 7: [0, 1]}.get(well, [well % 2]) if treated else []
        values = rng.normal(size=5) + sum((centre[m] for m in moas), np.zeros(5))
        rows.append(
            {
                "Metadata_Plate": plate,
                "Metadata_Well": f"A{well + 1:02d}",
                "Metadata_treatment": f"drug{well}@1" if treated else "DMSO@0",
                "Metadata_moa": "|".join(f"moa{m}" for m in moas),
                "Metadata_role": "treatment" if treated else "control",
                "dose": well,
                **{f"feature_{i}": v for i, v in enumerate(values)},
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def two_plates(tmp_path: Path) -> list[Path]:
    files = [tmp_path / "wells_1.csv", tmp_path / "wells_2.csv"]
    for number, path in enumerate(files):
        wells(number, f"00{number}").to_csv(path, index=False)
    return files


def test_the_command_line_of_the_issue(two_plates, tmp_path):
    code, text = profile(
        "evaluate", *two_plates, "--label-column", "Metadata_moa", "--treatment-column",
        "Metadata_treatment", "--control", 'Metadata_role == "control"', "--features-regex",
        "^feature_", "--sphere", "zca", "--lambda", "1e-2", "--level", "treatment", "--json",
        tmp_path / "out.json",
    )  # fmt: skip
    assert code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["tables"] == [str(path) for path in two_plates]
    assert (found["n_features"], found["n_profiles"], found["n_controls"]) == (5, 8, 24)
    assert found["n_queries"] == {
        "map": 8, "map_interpolated": 8, "folds_of_enrichment": found["n_queries"][
            "folds_of_enrichment"], "precision_at_k": 8, "hits_top1pct": 8,
    }  # fmt: skip
    for key in SCORES:
        assert found[key] is not None
        assert found[key] == found["sweep"][3]["strict"][key]  # none, 1, .1, then .01
        assert len(found["how"][key]) > 20
        assert found["moshkov2024"]["how"][key]
    assert 0 < found["map"] <= found["map_interpolated"] <= 1
    assert "24 controls" in found["how"]["sphering"]
    for words in ("strict", "moshkov2024", "0.01 (asked)", "nearest neighbour of another"):
        assert words in text


def test_a_control_with_an_at_sign_is_found(two_plates, tmp_path):
    code, _ = profile(
        "evaluate", *two_plates, "--control", 'Metadata_treatment == "DMSO@0"', "--json",
        tmp_path / "out.json", "--features-regex", "feature", "--p-values", 100, "--ties",
        "expected",
    )  # fmt: skip
    assert code == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["n_controls"] == 24
    assert len(found["q_values"]) == 8
    assert found["ties"] == "expected"
    assert "'expected'" in found["how"]["map"]


def test_the_documented_command_runs(two_plates, tmp_path):
    found, text = run_documented("wells_1", tmp_path, tmp_path / "out.json")
    assert found["n_profiles"] == 8
    assert found["n_features"] == 6  # without a regular expression the dose is one
    assert "of 8 treatments have q <= 0.05" in text


def test_cpjump1_as_documented(shared_data, tmp_path):
    folder = shared_data / "profiles"
    if not list((folder / "cpjump1").glob("BR*.csv.gz")):
        pytest.skip(f"no CPJUMP1 profiles in {folder}")
    found, text = run_documented("cpjump1", folder, tmp_path / "out.json")
    assert found["n_queries"]["map"] == 117
    assert found["n_controls"] == 256
    sweep = {row["lambda"]: row["strict"]["map"] for row in found["sweep"]}
    # seven plates gave .109 raw and .156 sphered; these are four of them
    assert sweep[None] == pytest.approx(0.1294, abs=5e-4)
    assert sweep[0.1] == pytest.approx(0.1537, abs=5e-4)
    assert sweep[0.01] == found["map"] == pytest.approx(0.1492, abs=5e-4)
    assert "0.1294" in text


def test_bbbc021_as_documented(shared_data, tmp_path):
    folder = shared_data / "profiles"
    if not (folder / "bbbc021").is_dir():
        pytest.skip(f"no BBBC021 profiles in {folder}")
    found, text = run_documented("bbbc021", folder, tmp_path / "out.json")
    assert (found["nsc_1nn"]["n_right"], found["nsc_1nn"]["n_queries"]) == (84, 103)
    assert "nearest neighbour of another compound: 84 of 103" in text
    assert (found["n_features"], found["n_controls"]) == (516, 330)
