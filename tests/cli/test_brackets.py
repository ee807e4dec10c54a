"""Names that users choose are printed as they are, whatever they hold in brackets or colons."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cellml.cli import app

NAMES = {"feature": "n[/x]", "moa": "a[/b](", "folder": "[dir]"}


@pytest.fixture
def wells(tmp_path):
    """Twelve wells of six treatments, two of each mechanism; one feature has no number."""
    rng = np.random.default_rng(0)
    moa = np.repeat([NAMES["moa"], "b", "DMSO"], 4)
    table = pd.DataFrame(
        {"Metadata_Plate": "1", "Metadata_treatment": np.repeat(list("pqrstu"), 2)}
    )
    table["Metadata_moa"] = moa
    table[NAMES["feature"]] = np.nan
    for name in "fgh":
        table[name] = rng.normal(size=12)
    path = tmp_path / "w.csv"
    table.assign(Metadata_Well=[f"A{k + 1:02d}" for k in range(12)]).to_csv(path, index=False)
    return path


def _call(*arguments):
    result = CliRunner().invoke(app, ["profile", *map(str, arguments)], env={"COLUMNS": "400"})
    assert result.exit_code == 0, result.exception
    return result.output


def test_evaluate_prints_a_regular_expression_and_names(wells):
    features = ("--features-regex", "^[fgh][/0-9]*$|^n.")
    out = _call(
        "evaluate", wells, "--control", "Metadata_moa == 'DMSO'", "--sphere", "zca", *features
    )
    assert features[1] in out
    assert f"the first: {NAMES['feature']}" in out


def test_report_prints_the_folder(wells, tmp_path):
    folder = tmp_path / NAMES["folder"] / "rep"
    out = _call("report", "--table", wells, "--out", folder, "--no-umap")
    assert str(folder) in out


def test_console_of_commands_takes_no_text_for_a_style_or_picture(capsys):
    from cellml.commands.long_work import plain_console

    plain_console().print("a[/b] [bold]c :cat:")
    assert capsys.readouterr().out == "a[/b] [bold]c :cat:\n"
