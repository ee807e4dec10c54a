"""`cellml activity evaluate`: values, classes, calibration, spread, similarity; the report."""

import json

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
from scipy import stats
from sklearn import metrics

from cellml.errors import UsageError, UserError
from tests.cli.compounds import SMILES, activity, compounds, read_rows, readouts, write_rows
from tests.report.page_checks import outside_resources, repeated_ids, text_of

FOLD = np.arange(len(SMILES)) % 3
SMALL = ("--radius", 1, "--size", 64)


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    """Two predictors of hits, the first with a spread, evaluated and drawn."""
    folder = tmp_path_factory.mktemp("binary")
    truth = compounds(folder / "truth.csv")
    rng = np.random.default_rng(0)
    labels = np.nan_to_num(readouts(), nan=0.5)
    good = 1 / (1 + np.exp(3 - 6 * labels + rng.normal(0, 1, labels.shape)))
    bad = rng.uniform(0.01, 0.99, labels.shape).round(4)
    spread = rng.uniform(0.05, 0.3, labels.shape)
    names = ["A", "B", "C"]
    write_rows(
        folder / "good.csv",
        ["smiles", *names, *(f"{n}_sd" for n in names)],
        [[s, *g, *w] for s, g, w in zip(SMILES, good.tolist(), spread.tolist(), strict=True)],
    )
    write_rows(
        folder / "bad.csv", ["smiles", *names],
        [[s, *b] for s, b in zip(SMILES, bad.tolist(), strict=True)],
    )  # fmt: skip
    code, text = activity(
        "evaluate", f"CS={folder}/good.csv", f"MO={folder}/bad.csv", "--truth", truth,
        "--split-column", "fold", "--out", folder / "ev", *SMALL,
    )  # fmt: skip
    assert code == 0
    facts = json.loads((folder / "ev" / "evaluation.json").read_text())
    return folder, text, facts["trust"], {"CS": good, "MO": bad, "spread": spread}


def test_calibration_equals_loops_over_all_readouts(binary):
    folder, text, trust, values = binary
    labels = readouts()
    known = ~np.isnan(labels)
    assert set(trust["reliability"]) == {"CS", "MO", "linear"}
    for name in ("CS", "MO"):
        y, p = labels[known], values[name][known].astype(np.float32)
        found = trust["reliability"][name]
        assert found["brier"] == pytest.approx(np.mean((y - p) ** 2), abs=1e-6)
        total = 0.0
        for b in range(10):
            inside = (p > np.float32(b / 10)) & (p <= np.float32((b + 1) / 10))
            total += abs(y[inside].sum() - p[inside].sum()) / len(y)
        assert found["ece"] == pytest.approx(total, abs=1e-5)
        assert sum(found["even"]["count"]) == sum(found["equal_count"]["count"]) == known.sum()
    assert trust["reliability"]["MO"]["ece"] > 0.2
    assert "ECE" in text
    rows = read_rows(folder / "ev" / "calibration.csv")
    assert {row["bins"] for row in rows} == {"even", "equal_count", "spread"}
    assert (folder / "ev" / "reliability.png").stat().st_size > 5000


def test_a_spread_is_compared_with_the_error(binary):
    _, _, trust, values = binary
    assert set(trust["spread"]) == {"CS"}
    labels = readouts()
    ranks = []
    for j in range(3):
        known = ~np.isnan(labels[:, j])
        error = np.abs(labels[known, j] - values["CS"][known, j])
        ranks.append(stats.spearmanr(error, values["spread"][known, j])[0])
    assert trust["spread"]["CS"]["spearman"] == pytest.approx(np.mean(ranks), abs=1e-5)
    assert sum(trust["spread"]["CS"]["curve"]["count"]) == (~np.isnan(labels)).sum()


def test_similarity_is_that_of_the_nearest_training_compound(binary):
    folder, text, trust, values = binary
    prints = [
        GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint(Chem.MolFromSmiles(s))
        for s in SMILES
    ]
    nearest = np.zeros(len(SMILES))
    for i in range(len(SMILES)):
        others = [j for j in range(len(SMILES)) if FOLD[j] != FOLD[i]]
        nearest[i] = max(DataStructs.BulkTanimotoSimilarity(prints[i], [prints[j] for j in others]))
    rows = read_rows(folder / "ev" / "nearest.csv")
    assert [row["smiles"] for row in rows] == list(SMILES)
    np.testing.assert_allclose([float(row["tanimoto"]) for row in rows], nearest, atol=1e-4)
    for i, row in enumerate(rows):
        assert FOLD[SMILES.index(row["nearest"])] != FOLD[i]
    labels = readouts()
    tested = ~np.isnan(labels).all(1)
    for stratum in trust["similarity"]["CS"]:
        upper = nearest < stratum["high"] if stratum["high"] < 1 else nearest <= 1
        inside = tested & (nearest >= stratum["low"]) & upper
        assert stratum["compounds"] == inside.sum()
        found = []
        for j in range(3):
            mine = inside & ~np.isnan(labels[:, j])
            y = labels[mine, j]
            if 0 < y.sum() < y.size:
                found.append(metrics.roc_auc_score(y, values["CS"][mine, j].astype(np.float32)))
        assert stratum["assays"] == len(found)
        if found:
            assert stratum["scores"]["auroc"] == pytest.approx(np.mean(found), abs=1e-6)
    assert "by similarity to training" in text


def test_the_report_shows_what_the_evaluation_knows(binary, tmp_path):
    folder, _, trust, _ = binary
    activity("report", folder / "ev" / "assays.csv", "--out", tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not outside_resources(page)
    assert not repeated_ids(page)
    text = text_of(page)
    assert "Can the predictions be taken at their word?" in text
    assert "How far from the training compounds?" in text
    assert f"{trust['reliability']['MO']['ece']:.3f}" in text
    for name in ("reliability", "spread", "similarity"):
        assert (tmp_path / f"{name}.svg").is_file()
    (tmp_path / "ev").mkdir()
    (tmp_path / "ev" / "assays.csv").write_bytes((folder / "ev" / "assays.csv").read_bytes())
    (tmp_path / "ev" / "evaluation.json").write_text('{"trust": {"reliability": 3}}')
    with pytest.raises(UserError, match="evaluate again"):
        activity("report", tmp_path / "ev" / "assays.csv", "--out", tmp_path)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Readouts that count carbon and nitrogen; predictions with noise and an honest spread."""
    folder = tmp_path_factory.mktemp("values")
    rng = np.random.default_rng(1)
    labels = np.array([[s.upper().count("C"), 100 + 3.0 * s.upper().count("N")] for s in SMILES])
    labels[rng.random(labels.shape) < 0.1] = np.nan
    noise = np.array([1.0, 2.0])
    guess = np.nan_to_num(labels, nan=5) + noise * rng.normal(size=labels.shape)
    header = ["smiles", "fold", "carbon", "nitrogen"]
    rows = [[s, f, *v] for s, f, v in zip(SMILES, FOLD.tolist(), labels.tolist(), strict=True)]
    truth = write_rows(folder / "truth.csv", header, rows)
    write_rows(
        folder / "p.csv",
        ["smiles", "carbon", "nitrogen", "carbon_sd", "nitrogen_sd"],
        [[s, *g, *noise] for s, g in zip(SMILES, guess.tolist(), strict=True)],
    )
    return folder, truth, labels, guess


def test_values_are_scored_beside_a_ridge_regression(values):
    folder, truth, labels, guess = values
    out = folder / "ev"
    code, text = activity(
        "evaluate", f"p={folder}/p.csv", "--truth", truth, "--kind", "regression",
        "--split-column", "fold", "--out", out, "--size", 256, "--radius", 1,
    )  # fmt: skip
    assert code == 0
    assert "linear: ridge regression an assay on chiral Morgan bits" in text
    for row in read_rows(out / "folds.csv"):
        if row["predictor"] != "p":
            continue
        j = ["carbon", "nitrogen"].index(row["assay"])
        mine = (int(row["fold"]) == FOLD) & ~np.isnan(labels[:, j])
        y, p = labels[mine, j], guess[mine, j]
        rmse = metrics.mean_squared_error(y, p) ** 0.5
        for name, expected in (
            ("rmse", rmse),
            ("mae", metrics.mean_absolute_error(y, p)),
            ("r2", metrics.r2_score(y, p)),
            ("spearman", stats.spearmanr(y, p)[0]),
        ):
            assert float(row[name]) == pytest.approx(expected, abs=2e-5)
    facts = json.loads((out / "evaluation.json").read_text())
    medians = {
        (row["predictor"], row["assay"]): float(row["rmse_median"])
        for row in read_rows(out / "assays.csv")
    }
    wins = sum(medians["p", a] < medians["linear", a] for a in ("carbon", "nitrogen"))
    test = facts["against"]["linear"]["p"]
    assert (test["better"], test["worse"]) == (wins, 2 - wins)
    assert facts["predictors"]["linear"]["r2"]["mean_of_folds"] > 0.5  # bits count atoms somewhat
    covered = facts["trust"]["spread"]["p"]["coverage"]
    assert covered["0.5"] == pytest.approx(0.5, abs=0.15)
    assert covered["0.95"] == pytest.approx(0.95, abs=0.06)
    assert facts["trust"]["reliability"] == {}
    assert (out / "spread.png").is_file()
    rmse = [s["scores"]["rmse"] for s in facts["trust"]["similarity"]["p"]]
    assert any(value is not None for value in rmse)


def test_classes_are_scored_beside_a_multinomial_regression(tmp_path):
    rng = np.random.default_rng(2)
    labels = np.array([min(s.upper().count("N"), 2) for s in SMILES], float)
    odds = rng.normal(size=(len(SMILES), 3)) + 2 * (labels[:, None] == np.arange(3))
    p = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    rows = [[s, f, v] for s, f, v in zip(SMILES, FOLD.tolist(), labels.tolist(), strict=True)]
    truth = write_rows(tmp_path / "t.csv", ["smiles", "fold", "A"], rows)
    rows = [[s, *each] for s, each in zip(SMILES, p.tolist(), strict=True)]
    write_rows(tmp_path / "p.csv", ["smiles", "A_0", "A_1", "A_2"], rows)
    fixed = ("--truth", truth, "--kind", "multiclass", "--split-column", "fold")
    _, text = activity("evaluate", f"p={tmp_path}/p.csv", *fixed, "--out", tmp_path / "o", *SMALL)
    assert "multinomial logistic regression" in text
    for row in read_rows(tmp_path / "o" / "folds.csv"):
        mine = int(row["fold"]) == FOLD
        if row["predictor"] == "p":
            right = (p[mine].argmax(1) == labels[mine]).mean()
            loss = metrics.log_loss(labels[mine], p[mine], labels=[0, 1, 2])
            assert float(row["accuracy"]) == pytest.approx(right, abs=1e-6)
            assert float(row["cross_entropy"]) == pytest.approx(loss, abs=1e-5)
        else:
            assert float(row["accuracy"]) >= 0.5  # nitrogen is seen in the bits
    trust = json.loads((tmp_path / "o" / "evaluation.json").read_text())["trust"]
    assert set(trust["reliability"]) == {"p", "linear"}
    with pytest.raises(UserError, match=r"no columns A_0, A_1"):
        activity("evaluate", tmp_path / "t.csv", *fixed)
    write_rows(tmp_path / "q.csv", ["smiles", "A_0", "A_1"], [[s, 0.5, 0.5] for s in SMILES])
    with pytest.raises(UserError, match=r"t.csv, line \d+, column 'A': found 2, expected .* to 1"):
        activity("evaluate", tmp_path / "q.csv", *fixed)
    with pytest.raises(UsageError, match="--kind odd: one of binary, regression"):
        activity("evaluate", tmp_path / "q.csv", *fixed, "--kind", "odd")


def test_figures_and_similarity_can_be_left_out(binary, tmp_path):
    folder, *_ = binary
    activity(
        "evaluate", f"CS={folder}/good.csv", "--truth", folder / "truth.csv", "--split-column",
        "fold", "--no-baseline", "--no-similarity", "--no-figures", "--out", tmp_path,
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "assays.csv", "calibration.csv", "evaluation.json", "folds.csv",
    ]  # fmt: skip
