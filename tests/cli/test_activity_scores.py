"""`cellml activity baseline|evaluate|fuse|report`: from predictions to scores and a page."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from cellml.errors import UsageError, UserError
from cellml.screening.fusion import fuse
from tests.cli.compounds import (
    SMILES,
    activity,
    compounds,
    predictions,
    read_rows,
    readouts,
    write_rows,
)
from tests.report.page_checks import outside_resources, repeated_ids, text_of

FOLD = np.arange(len(SMILES)) % 3
SMALL = ("--radius", 1, "--size", 64)


def noisy(seed: int, noise: float) -> np.ndarray:
    """Probabilities that know the truth up to noise."""
    rng = np.random.default_rng(seed)
    values = np.nan_to_num(readouts(), nan=0.5) + noise * rng.normal(size=(len(SMILES), 3))
    return 1 / (1 + np.exp(-values)).round(4)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Truth, two predictors (the second in one file a fold) and their evaluation."""
    folder = tmp_path_factory.mktemp("study")
    truth = compounds(folder / "truth.csv")
    predictions(folder / "good.csv", noisy(0, 0.5))
    for fold in range(3):
        rows = np.flatnonzero(fold == FOLD)[::-1]
        predictions(folder / f"bad{fold}.csv", noisy(1, 2.0), rows=rows.tolist())
    types = write_rows(
        folder / "types.csv", ["assay", "type"], [["A", "x"], ["B", "x"], ["C", "y"]]
    )
    bad = [f"bad={folder}/bad{fold}.csv" for fold in range(3)]
    code, text = activity(
        "evaluate", f"good={folder}/good.csv", *bad, "--truth", truth, "--split-column", "fold",
        "--assay-types", types, "--out", folder / "ev", *SMALL,
    )  # fmt: skip
    assert code == 0
    return folder, text


def test_scores_are_those_of_scikit_learn_per_fold(study):
    folder, _ = study
    labels = readouts()
    rows = read_rows(folder / "ev" / "folds.csv")
    assert len(rows) == 3 * 3 * 3
    values = {"good": noisy(0, 0.5), "bad": noisy(1, 2.0)}
    for row in rows:
        if row["predictor"] not in values:
            continue
        assay, fold = "ABC".index(row["assay"]), int(row["fold"])
        known = (fold == FOLD) & ~np.isnan(labels[:, assay])
        y, p = labels[known, assay], values[row["predictor"]][known, assay]
        assert (int(row["n_tested"]), int(row["n_hits"])) == (known.sum(), y.sum())
        if 0 < y.sum() < y.size:
            assert float(row["auroc"]) == pytest.approx(roc_auc_score(y, p), abs=1e-6)
            assert float(row["ap"]) == pytest.approx(average_precision_score(y, p), abs=1e-6)
        else:
            assert row["auroc"] == ""
    per_assay = read_rows(folder / "ev" / "assays.csv")
    assert [r["type"] for r in per_assay[:3]] == ["x", "x", "y"]
    for row in per_assay:
        own = [
            float(r["auroc"])
            for r in rows
            if (r["predictor"], r["assay"]) == (row["predictor"], row["assay"]) and r["auroc"]
        ]
        assert int(row["n_folds"]) == len(own)
        assert float(row["auroc_median"]) == pytest.approx(np.median(own), abs=1e-6)
        assert float(row["auroc_sd"]) == pytest.approx(np.std(own, ddof=1), abs=1e-5)


def test_the_table_has_the_linear_baseline_counts_and_types(study):
    folder, text = study
    facts = json.loads((folder / "ev" / "evaluation.json").read_text())
    assert set(facts["predictors"]) == {"good", "bad", "linear"}
    assert "linear: logistic regression an assay on chiral Morgan bits (radius 1, 64 bits" in text
    medians = {
        name: [
            float(row["auroc_median"])
            for row in read_rows(folder / "ev" / "assays.csv")
            if row["predictor"] == name
        ]
        for name in facts["predictors"]
    }
    for name, found in facts["predictors"].items():
        above = found["auroc"]["median_over_folds"]["above"]
        assert above["0.7"] == sum(value > 0.7 for value in medians[name])
        assert found["auroc"]["by_type"]["x"]["assays"] == 2
        assert found["unpredicted_readouts"] == 0
    assert set(facts["against"]["linear"]) == {"good", "bad"}
    assert facts["against"]["linear"]["good"]["assays"] == 3
    assert medians["linear"][0] > 0.8  # nitrogen is seen in the bits


def test_the_baseline_equals_its_own_command_and_leaks_nothing(study, tmp_path):
    folder, _ = study
    out = tmp_path / "linear.csv"
    activity("baseline", folder / "truth.csv", "--split-column", "fold", "--out", out, *SMALL)
    rows = read_rows(out)
    assert [row["smiles"] for row in rows] == list(SMILES)
    code, _ = activity(
        "evaluate", f"mine={out}", "--truth", folder / "truth.csv", "--split-column", "fold",
        "--no-baseline", "--out", tmp_path / "ev",
    )  # fmt: skip
    assert code == 0
    mine = read_rows(tmp_path / "ev" / "folds.csv")
    theirs = [r for r in read_rows(folder / "ev" / "folds.csv") if r["predictor"] == "linear"]
    for a, b in zip(mine, theirs, strict=True):
        assert a["auroc"] == b["auroc"] or abs(float(a["auroc"]) - float(b["auroc"])) < 1e-6
    labels = readouts()
    labels[FOLD == 1] = 1 - labels[FOLD == 1]  # may change the predictions of other folds alone
    changed = compounds(tmp_path / "changed.csv", labels=labels)
    activity("baseline", changed, "--split-column", "fold", "--out", tmp_path / "c.csv", *SMALL)
    for i, (a, b) in enumerate(zip(rows, read_rows(tmp_path / "c.csv"), strict=True)):
        assert (a == b) == (FOLD[i] == 1), i


def test_a_splits_json_does_as_well_and_scores_the_test_part_alone(study, tmp_path):
    folder, _ = study
    data = compounds(tmp_path / "d.csv", fold=False)
    splits = tmp_path / "s.json"
    splits.write_text('[{"train": "0-29,40-59", "val": [30, 31], "test": "32-39"}]')
    out = tmp_path / "o"
    activity(
        "evaluate", f"good={folder}/good.csv", "--truth", data, "--splits-file", splits, "--out",
        out, *SMALL,
    )  # fmt: skip
    facts = json.loads((out / "evaluation.json").read_text())
    assert facts["folds"] == ["test"]
    tested = int((~np.isnan(readouts()[32:40])).sum())
    assert facts["predictors"]["good"]["readouts"] == tested
    assert facts["predictors"]["linear"]["readouts"] == tested


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smiles,A,B,C\nCC,1,1,1\n", r"p.csv, line 2: 'CC' is not in"),
        ("smiles,A,B\nCc1ccccc1,1,1\n", r"no predictions of assay 'C'.*1 of 3 assays are missing"),
        ("smiles,A,B,C\nCc1ccccc1,1,x,1\n", r"p.csv, line 2, column 'B': found 'x', expected a f"),
        ("smiles,A,B,C\nCc1ccccc1,1,1,1\nCc1ccccc1,1,1,0\n", r"line 3: 2 predictions of .*1 or 1"),
        ("smiles,A,B,C\nCc1ccccc1,,,\n", r"p: no prediction of any tested readout"),
    ],
)
def test_predictions_that_do_not_fit_are_one_line(study, tmp_path, text, message):
    path = tmp_path / "p.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        activity("evaluate", path, "--truth", study[0] / "truth.csv", "--ignore", "fold")


def test_options_that_do_not_fit(study, tmp_path):
    folder, _ = study
    truth = ("--truth", folder / "truth.csv", "--split-column", "fold")
    good = f"linear={folder}/good.csv"
    with pytest.raises(UsageError, match="the name 'linear' is the baseline's"):
        activity("evaluate", good, *truth)
    with pytest.raises(UsageError, match="exclude each other"):
        activity("evaluate", good, *truth, "--splits-file", folder / "x.json")
    with pytest.raises(UsageError, match=r"no file gone\.csv"):
        activity("evaluate", "a=gone.csv", *truth)
    with pytest.raises(UsageError, match="--split-column or --splits-file is needed"):
        activity("baseline", folder / "truth.csv", "--out", tmp_path / "b.csv")
    twice = (f"a={folder}/good.csv", f"a={folder}/bad0.csv")
    with pytest.raises(UserError, match=r"bad0.csv: .* is predicted in .*good.csv as well"):
        activity("evaluate", *twice, *truth, "--no-baseline")


@pytest.mark.parametrize("rule", ["maximum", "mean", "logit_mean"])
def test_fusion_by_rule_keeps_compounds_that_lack_a_predictor(study, tmp_path, rule):
    folder, _ = study
    out = tmp_path / "f.csv"
    _, text = activity(
        "fuse", f"a={folder}/good.csv", f"b={folder}/bad0.csv", "--rule", rule, "--out", out
    )
    assert "40 compounds lacked a predictor" in text
    rows = read_rows(out)
    assert [row["smiles"] for row in rows] == list(SMILES)
    assert [row["fold"] for row in rows] == [str(f) for f in FOLD]
    second = np.where((FOLD == 0)[:, None], noisy(1, 2.0), np.nan)
    expected = fuse(np.stack([noisy(0, 0.5), second]), rule)
    found = np.array([[float(row[name]) for name in "ABC"] for row in rows])
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_stacking_learns_from_validation_folds_alone(study, tmp_path):
    folder, _ = study
    files = {"good": noisy(0, 0.5), "bad": noisy(1, 4.0)}
    options = []
    for name, values in files.items():
        predictions(tmp_path / f"{name}.csv", values)
        lines = [
            [SMILES[i], FOLD[i], run, *values[i].tolist()]
            for run in range(3)
            for i in np.flatnonzero((run + 1) % 3 == FOLD)
        ]
        header = ["smiles", "fold", "run", "A", "B", "C"]
        write_rows(tmp_path / f"v_{name}.csv", header, lines)
        options += ["--validation", f"{name}={tmp_path}/v_{name}.csv"]
    both = [f"{name}={tmp_path}/{name}.csv" for name in files]
    fixed = ("fuse", *both, "--rule", "stacking", *options)
    truth = ("--truth", folder / "truth.csv")
    _, text = activity(*fixed, *truth, "--out", tmp_path / "s.csv")
    assert text.count("weights of the logits") == 3
    labels = readouts()
    labels[FOLD == 0] = 1 - labels[FOLD == 0]  # validates run 2 and is tested by run 0
    changed = compounds(tmp_path / "changed.csv", labels=labels)
    activity(*fixed, "--truth", changed, "--out", tmp_path / "t.csv")
    pairs = zip(read_rows(tmp_path / "s.csv"), read_rows(tmp_path / "t.csv"), strict=True)
    for i, (a, b) in enumerate(pairs):
        assert (a == b) == (FOLD[i] != 2), i
    with pytest.raises(UsageError, match="--validation is of good, good, bad expected"):
        activity(*fixed[:-2], *truth, "--out", tmp_path / "u.csv")
    lines = [[SMILES[0], 0, 0, 0.5, 0.5, 0.5]]
    for name in files:
        write_rows(tmp_path / f"v_{name}.csv", ["smiles", "fold", "run", "A", "B", "C"], lines)
    with pytest.raises(UserError, match="no validation predictions of run '1'"):
        activity(*fixed, *truth, "--out", tmp_path / "u.csv")


def test_stacking_refuses_what_the_run_tests(study, tmp_path):
    folder, _ = study
    for name in ("a", "b"):
        predictions(tmp_path / f"{name}.csv", noisy(0, 1.0), rows=[0, 3])
        lines = [[SMILES[i], FOLD[i], 0, 0.5, 0.5, 0.5] for i in (1, 3)]
        write_rows(tmp_path / f"v{name}.csv", ["smiles", "fold", "run", "A", "B", "C"], lines)
    with pytest.raises(UserError, match=r"truth.csv, line 5: a compound of fold '0'"):
        activity(
            "fuse", f"a={tmp_path}/a.csv", f"b={tmp_path}/b.csv", "--rule", "stacking",
            "--validation", f"a={tmp_path}/va.csv", "--validation", f"b={tmp_path}/vb.csv",
            "--truth", folder / "truth.csv", "--out", tmp_path / "o.csv",
        )  # fmt: skip


def test_fusion_refuses_what_is_no_probability_and_single_predictors(tmp_path):
    bad = write_rows(tmp_path / "p.csv", ["smiles", "A"], [["CC", 0.5], ["CO", 1.5]])
    good = write_rows(tmp_path / "q.csv", ["smiles", "A"], [["CC", 0.5]])
    with pytest.raises(UserError, match=r"p.csv, line 3, column 'A': found 1.5, a probability"):
        activity("fuse", bad, good, "--out", tmp_path / "o.csv")
    with pytest.raises(UsageError, match="two predictors needed"):
        activity("fuse", good, "--out", tmp_path / "o.csv")
    with pytest.raises(UsageError, match="goes together with --validation"):
        activity("fuse", good, bad, "--rule", "stacking", "--out", tmp_path / "o.csv")


def test_best_of_takes_the_best_score_of_every_assay(study, tmp_path):
    folder, _ = study
    out = tmp_path / "best.csv"
    table = folder / "ev" / "assays.csv"
    activity("fuse", table, "--rule", "best_of", "--out", out, "--predictor", "good", "--predictor",
             "bad")  # fmt: skip
    scores = {(r["predictor"], r["assay"]): float(r["auroc_median"]) for r in read_rows(table)}
    for row in read_rows(out):
        pair = {name: scores[(name, row["assay"])] for name in ("good", "bad")}
        assert row["chosen"] == max(pair, key=lambda name: pair[name])
        assert float(row["auroc_median"]) == pytest.approx(max(pair.values()), abs=1e-6)
    with pytest.raises(UsageError, match="no predictor 'x'"):
        activity("fuse", table, "--rule", "best_of", "--out", out, "--predictor", "x")


def test_report_of_an_evaluation(study, tmp_path):
    folder, _ = study
    out = tmp_path / "rep"
    activity(
        "report", folder / "ev" / "assays.csv", "--single", "CS=good", "--single", "MO=bad",
        "--fusion", "CS+MO=linear", "--out", out,
    )  # fmt: skip
    page = (out / "report.html").read_text()
    assert not outside_resources(page)
    assert not repeated_ids(page)
    text = text_of(page)
    parts = [f"Table {i}." for i in (1, 2, 3, 4)] + [f"Figure {i}." for i in (30, 31, 32)]
    for part in [*parts, "CS+MO, late against CS"]:
        assert part in text
    numbers = json.loads((out / "report.json").read_text())
    facts = json.loads((folder / "ev" / "evaluation.json").read_text())
    own = facts["predictors"]["good"]["auroc"]["median_over_folds"]
    assert numbers["predictors"]["CS"]["above"] == own["above"]
    for name in ("counts_by_threshold", "overlap_90", "types", "pairs"):
        assert (out / f"{name}.png").stat().st_size > 5000
        assert (out / f"{name}.svg").is_file()
    with pytest.raises(UsageError, match="no predictor 'nobody'"):
        activity("report", folder / "ev" / "assays.csv", "--single", "nobody", "--out", out)
    with pytest.raises(UsageError, match=r"A\+B=PREDICTOR expected"):
        activity("report", folder / "ev" / "assays.csv", "--fusion", "x", "--out", out)
