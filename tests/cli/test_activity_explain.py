"""`cellml activity explain`: pictures, tables and a page; what cannot be read is listed."""

import csv
import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import jax
import numpy as np
import pytest

import cellml.cli_activity_models  # noqa: F401 (registers the commands)
from cellml.data.molecule_drawing import diverging_colour, draw_values
from cellml.errors import UsageError
from cellml.experiment.activity_data import Predictor, describe, evaluation_batches
from cellml.tasks.activity import ActivityModel, ActivitySpec, Fingerprint, Modality
from cellml.tasks.activity_models import load_activity, save_activity
from cellml.tasks.activity_training import make_task
from tests.cli.compounds import activity

SMILES = ["CC(=O)Nc1ccc(O)cc1", "nonsense", "C", "CC(=O)[O-].[Na+]"]
SPEC = ActivitySpec(
    assays=("first & <best>", "second"),
    representation="morgan",
    fingerprint=Fingerprint(2, 64),
    hidden=(8,),
    largest_fragment=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    found = describe(SPEC, SMILES)
    (batch,) = evaluation_batches(found, batch_size=4)
    variables = jax.jit(make_task(SPEC).init)(jax.random.key(2), batch)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_activity(path, ActivityModel(SPEC, variables))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "new.csv"
    path.write_text("name,smiles\n" + "".join(f"{i},{s}\n" for i, s in enumerate(SMILES)))
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_readable_molecule_is_drawn_and_its_atoms_add_up(model, table, tmp_path) -> None:
    code, text = activity(
        "explain", table, "--smiles-column", "smiles", "--checkpoint", model, "--out", tmp_path,
        "--assay", "first & <best>", "--steps", 32,
    )  # fmt: skip
    assert code == 0
    assert "3 molecules explained, 1 in rejected.csv" in text
    assert re.search(r"completeness error: at most \d", text)
    (rejected,) = read(tmp_path / "rejected.csv")
    assert (rejected["row"], rejected["line"], rejected["smiles"]) == ("1", "3", "nonsense")
    atoms = read(tmp_path / "attributions.csv")
    assert [(a["molecule"], a["atom"], a["symbol"]) for a in atoms[:3]] == [
        ("0", "0", "C"), ("0", "1", "C"), ("0", "2", "O"),
    ]  # fmt: skip
    # Row 2 is one atom; of row 3 the model sees the acetate alone.
    assert [sum(a["molecule"] == str(row) for a in atoms) for row in range(4)] == [11, 0, 1, 4]
    described = describe(SPEC, SMILES)
    predicted, _ = Predictor(SPEC)(load_activity(model), described)
    for i, molecule in enumerate(read(tmp_path / "molecules.csv")):
        total = sum(float(a["attribution"]) for a in atoms if a["molecule"] == molecule["molecule"])
        moved = float(molecule["output"]) - float(molecule["baseline"])
        assert total == pytest.approx(float(molecule["sum"]), abs=1e-5)
        assert total - moved == pytest.approx(float(molecule["error"]), abs=1e-5)
        assert abs(total - moved) < 0.05 * max(abs(moved), 0.1)
        assert float(molecule["prediction"]) == pytest.approx(predicted[i, 0], rel=1e-4)
    pictures = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert pictures == ["molecule_0.svg", "molecule_2.svg", "molecule_3.svg"]
    page = (tmp_path / "index.html").read_text()
    ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    assert page.count("<figure>") == 3
    assert f"predicted probability {predicted[0, 0]:.3g}" in page
    assert "first &amp; &lt;best&gt;" in page
    assert not re.search(r'(src|href)="(?!#)', page)


def test_smiles_may_stand_on_the_command_line_and_none_may_be_readable(model, tmp_path) -> None:
    options = ("--checkpoint", model, "--assay", "second", "--steps", 32)
    code, text = activity(
        "explain", "--smiles", "CCO", "--smiles", "C", "--out", tmp_path / "a", *options
    )
    assert code == 0
    assert [a["symbol"] for a in read(tmp_path / "a" / "attributions.csv")] == ["C", "C", "O", "C"]
    code, text = activity("explain", "--smiles", "what", "--out", tmp_path / "b", *options)
    assert "0 molecules explained, 1 in rejected.csv" in text
    assert read(tmp_path / "b" / "attributions.csv") == []
    assert len(read(tmp_path / "b" / "rejected.csv")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--assay", "secnd"), "--assay secnd: no such assay .did you mean 'second'"),
        ((), "--assay expected"),
        (("--assay", "second", "--class", 1), "--class goes with a multi-class model"),
        (("--assay", "second", "--steps", 0), "at least 1 expected"),
    ],
)
def test_wrong_options_are_named(model, tmp_path, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        activity(
            "explain", "--smiles", "C", "--checkpoint", model, "--out", tmp_path / "x", *options
        )
    with pytest.raises(UsageError, match="a table of compounds or --smiles expected"):
        activity("explain", "--checkpoint", model, "--out", tmp_path / "x", *options)


def test_models_that_see_no_atoms_are_refused(model, tmp_path) -> None:
    spec = dataclasses.replace(
        SPEC, representation="features_only", modalities=(Modality("mo", ("m",)),)
    )
    path = tmp_path / "features.safetensors"
    save_activity(path, ActivityModel(spec, {"params": {"x": np.zeros(1, np.float32)}}))
    with pytest.raises(UsageError, match="sees no atoms"):
        activity("explain", "--smiles", "C", "--checkpoint", path, "--out", tmp_path / "x")


def test_colours_diverge_and_pictures_are_checked() -> None:
    assert diverging_colour(0.0) == (1, 1, 1)
    assert diverging_colour(2.0) == diverging_colour(1.0)
    assert diverging_colour(1.0)[0] > diverging_colour(1.0)[2]
    assert diverging_colour(-1.0)[0] < diverging_colour(-1.0)[2]
    half = diverging_colour(-0.5)
    assert half == pytest.approx([(1 + c) / 2 for c in diverging_colour(-1.0)])
    picture = draw_values("CO", [0.5, -1.0], limit=1.0, title="a" * 60, legend="of <x>")
    ElementTree.fromstring(picture)
    assert "<title>" + "a" * 60 in picture
    assert "of &lt;x&gt;" in picture
    assert "fill:#0071B1" in picture  # the oxygen, against
    assert "fill:#E9AE7F" in picture  # the carbon, half for
    for smiles, values, limit in (("CO", [1.0], 1.0), ("what", [1.0], 1.0), ("C", [1.0], 0.0)):
        with pytest.raises(ValueError, match="and a limit above 0 expected"):
            draw_values(smiles, values, limit=limit)
