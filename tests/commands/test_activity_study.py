"""The study of modalities at a small size, from a simulated screen to its tables."""

import csv
import json

import jax
import numpy as np
import pytest
from rich.console import Console

from cellml.commands import activity_study
from cellml.commands.activity_inputs import CompoundSource
from cellml.data.assay_simulation import simulate_screen
from cellml.errors import UsageError
from cellml.screening.fusion import fuse
from tests.report.page_checks import text_of

TINY = (
    "model.members=1", "model.hidden=[64]", "model.fingerprint.size=256",
    "model.fingerprint.radius=2", "train.batch_size=32", "train.best=last",
    "train.eval_every_epochs=100", "train.checkpoint_every_epochs=100",
)  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two modalities, one of three folds held out."""
    out = tmp_path_factory.mktemp("study")
    screen = out / "screen"
    assays, features, types = activity_study.simulate(screen, n_compounds=480, n_assays=8)
    options = activity_study.StudyOptions(
        CompoundSource(assays),
        {"MO": features["MO"]},
        out,
        folds=3,
        holdout=("0",),
        preset="morgan",
        epochs=30,
        changes=TINY,
        assay_types=types,
    )
    with pytest.MonkeyPatch.context() as patch:  # one device compiles in a fraction of the time
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        return out, activity_study.run(options, Console(quiet=True))


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_late_fusion_is_above_each_modality_and_the_choice_per_assay_above_that(study):
    _, facts = study
    mean = {name: found["mean"] for name, found in facts["predictors"].items()}
    assert facts["singles"] == ["CS", "MO"]
    late = mean["CS+MO"]
    assert late > max(mean[name] for name in facts["singles"])
    assert mean["best of single ones and late"] > late
    by_type = {name: found["by_type"] for name, found in facts["predictors"].items()}
    assert set(by_type["CS"]) == {
        "structure", "morphology", "expression", "structure + morphology",
    }  # fmt: skip
    for name, kind in (("CS", "structure"), ("MO", "morphology")):
        own = by_type[name][kind]
        assert own == max(by_type[single][kind] for single in facts["singles"])
        assert own > 0.7


def test_files_hold_what_the_fusion_was_made_of(study):
    out, facts = study
    parts = {name: rows(out / "predictions" / f"{name}.csv") for name in facts["singles"]}
    for found in parts.values():
        assert {row["fold"] for row in found} == {"0"}
    assays = [name for name in parts["CS"][0] if name not in ("smiles", "fold", "row")]
    assert len(assays) == 8
    late = {row["smiles"]: row for row in rows(out / "fused" / "CS+MO.csv")}
    by_smiles = [{row["smiles"]: row for row in part} for part in parts.values()]
    assert set(by_smiles[1]) < set(by_smiles[0]) == set(late)  # some have no profile
    nothing = dict.fromkeys(assays, "nan")
    values = [[[float(found.get(s, nothing)[a]) for a in assays] for s in late]
              for found in by_smiles]  # fmt: skip
    joined = np.array([[float(row[a]) for a in assays] for row in late.values()])
    np.testing.assert_allclose(joined, fuse(np.array(values), "logit_mean"), atol=1e-5)
    validation = rows(out / "validation" / "CS.csv")
    assert {row["run"] for row in validation} == {"0"}
    tested = {row["smiles"] for row in parts["CS"]}
    assert not tested & {row["smiles"] for row in validation}
    text = text_of((out / "report" / "report.html").read_text())
    assert "Can the predictions be taken at their word?" in text
    assert json.loads((out / "study.json").read_text()) == facts


def test_options_that_do_not_fit(tmp_path):
    source = CompoundSource(tmp_path / "a.csv")
    for features in ({}, {"CS": tmp_path}, {"MO": tmp_path / "gone.csv"}):
        options = activity_study.StudyOptions(source, features, tmp_path)
        with pytest.raises(UsageError, match="--feature"):
            activity_study.run(options, Console(quiet=True))


def test_simulated_sources_are_seen_in_their_profiles_alone():
    screen = simulate_screen(
        n_compounds=400, n_assays=6, sources=("morphology", "expression"), profiled=1.0, seed=3
    )
    assert screen.assays[:3] == ("morphology_0", "expression_0", "morphology_1")
    assert screen.expression is not None
    for j, name in enumerate(screen.assays):
        known = ~np.isnan(screen.labels[:, j])
        explained = {}
        for kind, x in (("morphology", screen.morphology), ("expression", screen.expression)):
            x = x[known].astype(np.float64) - x[known].mean(0)
            y = screen.labels[known, j] - screen.labels[known, j].mean()
            fit = np.linalg.lstsq(x, y, rcond=None)[0]
            explained[kind] = 1 - np.sum((y - x @ fit) ** 2) / np.sum(y**2)
        kind = name.rpartition("_")[0]
        assert explained[kind] > 0.35
        assert min(explained.values()) < 0.15
    exact, turned = (
        simulate_screen(n_compounds=400, tested=1.0, mistaken=share).labels for share in (0.0, 0.2)
    )
    assert 0.15 < np.mean(exact != turned) < 0.25
    with pytest.raises(ValueError, match="unknown source 'smell'"):
        simulate_screen(sources=("structure", "smell"))
