"""Small checkpoints that Chemprop itself wrote, and what it predicts with them.

`chemprop_checkpoints/make.py` made them; Chemprop and PyTorch are not needed here.
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from cellml.experiment.activity_data import Predictor, describe
from cellml.tasks.activity_models import load_activity

FOLDER = Path(__file__).resolve().parent / "chemprop_checkpoints"


def published(version: str) -> tuple[list[str], np.ndarray, list[str]]:
    with (FOLDER / f"version_{version}.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    return [line[0] for line in lines], np.array([line[1:] for line in lines], float), header[1:]


@pytest.mark.parametrize(("version", "preset"), [("1", "chemprop_v1"), ("2", "chemprop_v2")])
def test_logits_equal_those_of_chemprop(version: str, preset: str) -> None:
    smiles, expected, tasks = published(version)
    model = load_activity(FOLDER / f"version_{version}.pt")
    assert model.spec.assays == tuple(tasks)
    assert model.spec.preset == preset
    found, _ = Predictor(model.spec)(model, describe(model.spec, smiles))
    logits, theirs = (np.log(p) - np.log1p(-p) for p in (found.astype(float), expected))
    assert np.ptp(theirs, axis=0).min() > 1  # a network that says something
    np.testing.assert_allclose(logits, theirs, atol=1e-4, rtol=0)
