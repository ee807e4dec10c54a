"""Screens of `cellml profile aggregate` as parts of a training set; the example of the docs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cellml.commands.profile_aggregate import AggregateOptions, run
from cellml.commands.profile_combine import read_screen
from cellml.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "profiling.md"


def write_screen(out: Path, strength: dict[str, float], cells: int) -> None:
    """Wells of treatments of such strengths, aggregated; one is called DMSO and is a control."""
    rng = np.random.default_rng(0)
    rows = []
    for k, (name, shift) in enumerate([*strength.items(), *[("DMSO", 0.0)] * 8]):
        for well in range(2):
            rows.append(
                {
                    "Metadata_Plate": "P", "Metadata_Well": f"{'AB'[well]}{k + 1:02d}",
                    "Metadata_treatment": name, "Metadata_n_cells": str(cells),
                    "Metadata_moa": "" if name == "DMSO" else f"moa{len(name) % 2}",
                    "Metadata_allele": "WT" if shift > 3 else "R1C",
                    **{f"f{i}": v for i, v in enumerate(rng.normal(size=4) * 0.1 + shift)},
                }
            )  # fmt: skip
    out.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(out / "wells.csv", index=False)
    options = AggregateOptions(
        None, inputs=[str(out / "wells.csv")], out=out, control="Metadata_treatment == 'DMSO'"
    )
    assert run(options, Console(quiet=True)) == 0


@pytest.fixture
def two_screens(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    place = Path("outputs") / "classical" / "profiles"
    write_screen(tmp_path / "first" / place, {"a": 4, "bb": 3, "c": 2, "dd": 1}, cells=60)
    write_screen(tmp_path / "second" / place, {"c": 5, "e": 4, "ff": 3, "a": 2, "g": 1}, cells=40)
    return tmp_path


def test_the_example_of_the_docs(two_screens, capsys):
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    exec(compile(code[1], "docs/profiling.md", "exec"), {})
    # a and c are in both (120 + 80 cells); of the second then e and ff, too few cells each
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "a: 200 cells of first and second",
        "c: 200 cells of first and second",
        "classes of controls: compound dropped: {'e': 80, 'ff': 80}",
    ]


def test_strengths_cells_and_mechanisms_come_from_the_files(two_screens):
    folder = two_screens / "first" / "outputs" / "classical" / "profiles"
    found = read_screen(folder, kind="gene", wild_type_column="Metadata_allele")
    assert list(found.treatments) == ["a", "bb", "c", "dd"]  # no DMSO
    assert list(found.cells) == [120] * 4
    assert list(found.moa) == ["moa1", "moa0", "moa1", "moa0"]
    assert list(found.wild_type or ()) == [True, False, False, False]
    assert (np.diff(found.strength) < 0).all()
    mean = read_screen(folder, kind="gene", strength="strength_mean")
    np.testing.assert_allclose(np.array(mean.strength) * 2, found.strength, rtol=1e-4)
    assert mean.wild_type is None


def test_files_that_are_not_there(two_screens):
    folder = two_screens / "first" / "outputs" / "classical" / "profiles"
    with pytest.raises(UserError, match=r"'Metadata_alele'.*did you mean 'Metadata_allele'"):
        read_screen(folder, kind="gene", wild_type_column="Metadata_alele")
    with pytest.raises(UserError, match="no column 'strength'"):
        read_screen(folder, kind="gene", strength="strength")
    (folder / "treatment.parquet").unlink()
    with pytest.raises(UserError, match="cellml profile aggregate"):
        read_screen(folder, kind="gene")
    with pytest.raises(UserError, match="no such file"):
        read_screen(two_screens, kind="gene")
