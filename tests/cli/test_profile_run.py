"""`cellml profile run`: all stages in order; called again, it changes nothing."""

import json

import pytest

from cellml.commands import profile_run
from cellml.errors import UsageError
from tests.cli.screens import content, profile

DESIGN = (
    "mechanisms=er_stress", "n_per_mechanism=6", "n_inactive=0", "n_plates=2",
    "n_batches=1", "n_rows=2", "n_columns=5", "n_sites=1", "shape=72x80", "n_cells=4",
    "cell_diameter_px=24",
)  # fmt: skip


def test_a_simulated_screen_becomes_a_report_and_a_second_run_changes_nothing(tmp_path):
    root = tmp_path / "screen"
    arguments = ["run", root, "--simulated", "--features", "classical", "--no-umap"]
    arguments += [text for change in DESIGN for text in ("--design", change)]
    code, text = profile(*arguments)
    assert code == 0
    stages = [line for line in text.splitlines() if line.startswith("[")]
    assert [stage.partition("] ")[2] for stage in stages] == [
        "render a screen, find its cells",
        "correct the illumination",
        "cut single cells",
        "classical: features",
        "classical: profiles",
        "report",
    ]
    report = json.loads((root / "outputs" / "report" / "report.json").read_text())
    found = report["experiments"]["classical"]
    assert found["n_wells"] == 20
    assert found["n_controls"] == 8  # by the project's control_value
    assert report["facts"]["controls"] == "Metadata_treatment == 'DMSO'"
    assert (root / "outputs" / "report" / "report.html").is_file()
    before = content(root / "inputs") | content(root / "outputs" / "classical")
    assert profile(*arguments)[0] == 0
    assert content(root / "inputs") | content(root / "outputs" / "classical") == before


def test_features_of_an_unknown_name_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(UsageError, match="unknown 'magic'; known: classical, random"):
        profile("run", tmp_path / "p", "--simulated", "--features", "classical,magic")
    assert not (tmp_path / "p").exists()


def test_a_stage_that_is_interrupted_ends_the_run_with_its_code(tmp_path, monkeypatch):
    monkeypatch.setattr(profile_run, "_simulate", lambda *_: 130)
    code, text = profile("run", tmp_path / "p", "--simulated")
    assert code == 130
    assert "[2/" not in text
