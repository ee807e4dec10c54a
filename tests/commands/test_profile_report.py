"""`cellml profile report`: a project or bare tables in, a page out; numbers as of evaluate."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from cellml.commands import profile_evaluate, profile_report_scores
from cellml.commands.profile_report import ReportOptions, run
from cellml.commands.profile_report_inputs import name_tables, read_training, read_truth
from cellml.errors import UsageError, UserError
from tests.report.page_checks import outside_resources, parse, repeated_ids, text_of

CONTROL = 'Metadata_role == "control"'
SWEEP = (None, 1.0, 1e-4)


def _wells(seed: int, *, noise: float) -> pd.DataFrame:
    """Two plates of 8 treatments, 7 of them in 2 mechanisms, and 12 controls; 6 features."""
    rng = np.random.default_rng(seed)
    mechanism, nuisance = rng.normal(size=(2, 6)), rng.normal(size=6)
    rows = []
    for plate in range(2):
        for well in range(20):
            strength = well / 4 if well < 7 else 0.0
            features = mechanism[well % 2] * strength + noise * rng.normal(size=6)
            features += 2 * rng.normal() * nuisance
            name = f"t{well}" if well < 8 else "DMSO"
            rows.append(
                {
                    "Metadata_Plate": f"00{plate}",
                    "Metadata_Well": f"A{well + 1:02d}",
                    "Metadata_treatment": name,
                    "Metadata_moa": f"moa{well % 2}" if well < 7 else "",
                    "Metadata_role": "treatment" if well < 8 else "control",
                    **{f"f{i}": np.float32(value) for i, value in enumerate(features)},
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("screen")
    for name, seed, noise in (("wsl", 0, 0.2), ("random", 1, 2.0)):
        folder = root / "outputs" / name / "profiles"
        folder.mkdir(parents=True)
        _wells(seed, noise=noise).to_parquet(folder / "well.parquet")
    columns = "Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_treatment,Metadata_n_cells"
    quality = f"{columns},distance,limit,reason,DNA\n"
    apart = "000,A03,1,t2,9,7.254,3.5,component 1: f3,x/a.tif\n"
    for name, line in (("wsl", apart), ("random", "")):
        folder = root / "outputs" / name / "profiles"
        (folder / "quality.csv").write_text(quality + line)
        plates = "Metadata_Plate,n_wells,n_empty,n_outliers,median_distance\n000,20,0,1,1.25\n"
        (folder / "plates.csv").write_text(plates)
    model = root / "outputs" / "wsl" / "model"
    model.mkdir()
    (model / "config.json").write_text(
        '{"config": {"train": {"epochs": 6, "eval_every_epochs": 2}}}'
    )
    lines = [{"step": 10 * k, "eval/f1": 0.1 * k, "eval/train_f1": 0.2 * k} for k in (1, 2, 3)]
    lines.insert(1, {"step": 15, "train/cross_entropy": 1.0})
    (model / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    truth = root / "inputs" / "metadata" / "truth.csv"
    truth.parent.mkdir(parents=True)
    strengths = [f"t{k},{k / 4 if k < 7 else 0}" for k in range(8)]
    truth.write_text("\n".join(["Metadata_treatment,strength", *strengths, "DMSO,0"]) + "\n")
    return root


@pytest.fixture(scope="module")
def report(project) -> dict:
    options = ReportOptions(project=project, control=CONTROL, sweep=SWEEP, umap=False)
    return run(options, Console(quiet=True))


def test_numbers_are_those_of_evaluate(project, report):
    assert list(report["experiments"]) == ["random", "wsl"]
    for name, found in report["experiments"].items():
        lambdas = [row["lambda"] for row in found["sweep"]]
        assert lambdas == [None, 1.0, 0.01, 1e-4]  # the default one is always among them
        for row in found["sweep"]:
            expected = profile_evaluate.run(
                profile_evaluate.EvaluateOptions(
                    [str(project / "outputs" / name / "profiles" / "well.parquet")],
                    control=CONTROL,
                    sphere="none" if row["lambda"] is None else "zca",
                    regularisation=row["lambda"] or 1e-2,
                ),
                Console(quiet=True),
            )
            for protocol, scores in (
                ("strict", expected),
                ("moshkov2024", expected["moshkov2024"]),
            ):
                for score in ("map", "folds_of_enrichment", "log_odds", "hits_top1pct"):
                    assert row[protocol][score] == pytest.approx(scores[score]), (score, protocol)
        best = max(found["sweep"], key=lambda row: row["strict"]["map"])
        assert found["best_lambda"] == best["lambda"]
        sphered = profile_evaluate.run(
            profile_evaluate.EvaluateOptions(
                [str(project / "outputs" / name / "profiles" / "well.parquet")],
                control=CONTROL,
                sphere="zca",
                sweep=False,
            ),
            Console(quiet=True),
        )
        assert [row["lambda"] for row in found["replicates"]] == [None, 0.01]
        for key in ("nsc_1nn", "nscb_1nn"):
            assert found["replicates"][1][key] == pytest.approx(sphered[key]["accuracy"])
        share = sphered["replicate_reproducibility"]["share"]
        assert found["replicates"][1]["replicate_reproducibility"] == pytest.approx(share)


def test_strengths_follow_the_truth(report):
    truth = np.array([k / 4 if k < 7 else 0 for k in range(8)])
    for ranking in report["experiments"]["wsl"]["strengths"]:
        mean = [ranking["treatments"][f"t{k}"]["mean_z"] for k in range(8)]
        expected = stats.spearmanr(truth, mean).statistic
        assert ranking["spearman_with_truth"] == pytest.approx(expected)
        right, n_pairs = ranking["pairs_in_order_within_mechanisms"]
        assert 0 < right <= n_pairs
    # 24 controls are more than 6 features: the sphered ones are shown
    first = report["experiments"]["wsl"]["strengths"][0]
    assert first["profiles"] == "sphered with lambda 0.01"
    assert first["spearman_with_truth"] > 0.8
    assert "DMSO" not in first["treatments"]


def test_the_page_is_whole_and_says_what_is_optimistic(project, report):
    folder = project / "outputs" / "report"
    page = (folder / "report.html").read_text()
    parse(page)
    assert outside_resources(page) == []
    assert repeated_ids(page) == []
    text = text_of(page)
    for words in (
        "chosen on the labels that it is scored with",
        "0.01 (default)",
        "moshkov2024",
        "Spearman's correlation with the truth",
        "How the networks trained",
        "neighbour of same batch",
        "reproducible",
        "other compound",
    ):
        assert words in text
    stems = {path.stem for path in folder.glob("*.png")}
    assert stems == {path.stem for path in folder.glob("*.svg")}
    assert stems == {
        "precision_recall", "map_against_enrichment", "lambda_sweep", "training_f1",
        "pca_wsl", "pca_random", "strength_wsl", "strength_random",
    }  # fmt: skip
    assert json.loads((folder / "report.json").read_text())["experiments"] == report["experiments"]


def test_the_page_says_which_wells_lie_apart(project, report):
    text = text_of((project / "outputs" / "report" / "report.html").read_text())
    assert "Which wells to look at" in text
    assert "1 well farther than 3.50." in text
    assert "000 A03 t2 9 7.25 component 1: f3 1" in text
    assert "No well lies apart." in text


def test_a_second_run_writes_the_same_bytes(project, report, tmp_path):
    options = ReportOptions(
        project=project, control=CONTROL, sweep=SWEEP, umap=False, out=tmp_path / "again"
    )
    run(options, Console(quiet=True))
    for name in ("report.html", "report.json", "lambda_sweep.svg", "pca_wsl.png"):
        first = (project / "outputs" / "report" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first


def test_bare_tables_without_controls_or_mechanisms_of_three(tmp_path):
    table = _wells(3, noise=0.5)
    table["Metadata_moa"] = [f"moa{k % 4}" if k < 7 else "" for k in range(20)] * 2
    table.to_csv(tmp_path / "a.csv", index=False)
    options = ReportOptions(tables=[f"mine={tmp_path / 'a.csv'}"], out=tmp_path, umap=False)
    # controls are taken for treatments without a mechanism
    found = run(options, Console(quiet=True))["experiments"]["mine"]
    assert [row["lambda"] for row in found["sweep"]] == [None]
    assert found["sweep"][0]["strict"]["map"] is None  # no treatment has two right answers
    assert found["chance_map"] is None
    assert found["strengths"] == []
    assert "nothing could be sphered" in found["notes"][0]
    text = text_of((tmp_path / "report.html").read_text())
    assert "How strong" not in text
    assert "Not sphered, so there is one row only." in text


def test_chance_is_the_mean_over_random_rankings():
    labels = ["a"] * 3 + ["b"] * 4 + ["c"] * 2 + ["a|b", ""]
    rng = np.random.default_rng(0)
    sets = [set(label.split("|")) for label in labels if label]
    found = []
    for _ in range(3000):
        for query in range(len(sets)):
            others = rng.permutation([k for k in range(len(sets)) if k != query])
            right = np.array([bool(sets[query] & sets[k]) for k in others])
            if right.sum() >= 2:
                found.append((np.cumsum(right) / np.arange(1, right.size + 1))[right].mean())
    assert profile_report_scores.chance_map(labels) == pytest.approx(np.mean(found), abs=3e-3)
    assert profile_report_scores.chance_map(["a", "a", "a"]) == pytest.approx(1)
    assert np.isnan(profile_report_scores.chance_map(["a", "b"]))


def test_training_runs_over_epochs_or_steps(project, tmp_path):
    curve = read_training(project / "outputs" / "wsl" / "model")
    assert curve is not None
    assert curve.unit == "epoch"
    np.testing.assert_allclose(curve.place, [2, 4, 6])
    np.testing.assert_allclose(curve.validation, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(curve.train, [0.2, 0.4, 0.6])
    (tmp_path / "metrics.jsonl").write_text('{"step": 7, "eval/f1": 0.5}\n{"step": 9, "eval/f1"')
    curve = read_training(tmp_path)
    assert curve is not None
    assert (curve.unit, curve.place.tolist()) == ("step", [7.0])
    assert np.isnan(curve.train).all()
    (tmp_path / "metrics.jsonl").write_text('{"step": 7, "eval/f1": null}\n')
    assert read_training(tmp_path) is None
    assert read_training(tmp_path / "none") is None


def test_tables_of_one_name_belong_together(tmp_path):
    odd = tmp_path / "a=b.csv"
    odd.touch()
    found = name_tables(["x=1.csv", str(odd), "x=2.csv", "3.csv"])
    assert [(s.name, [p.name for p in s.files]) for s in found] == [
        ("x", ["1.csv", "2.csv"]),
        ("profiles", ["a=b.csv", "3.csv"]),
    ]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"experiments": ["wls"]}, UserError, "wls.*no such file.*did you mean 'wsl'"),
        (
            {"label_column": "Metadata_mao"},
            UserError,
            "experiment random: no column 'Metadata_mao'",
        ),
        ({"batch_column": "Metadata_Plat"}, UserError, "did you mean 'Metadata_Plate'"),
        ({"control": "Metadata_role == 'ctrl'"}, UserError, "no row matches; Metadata_role is"),
        ({"normalize": "z"}, UsageError, "--normalize z: expected one of none"),
        ({"ties": "none"}, UsageError, "--ties none"),
        ({"metadata": [Path("m.csv")]}, UsageError, "1 --metadata and 0 --on"),
        ({"sphere": "white"}, UsageError, "--sphere white: expected one of none, zca"),
        ({"sweep": (0.1, -1.0)}, UsageError, "lambda -1: 0 or more"),
        ({"tables": ["a.csv"]}, UsageError, "not both"),
        ({"project": None, "tables": ["a.csv"]}, UsageError, "--out is needed"),
        ({"project": None, "out": Path("x")}, UsageError, "a project or tables"),
    ],
)
def test_what_cannot_be_used_is_named(project, options, error, message):
    with pytest.raises(error, match=message):
        run(ReportOptions(**({"project": project, "umap": False} | options)), Console(quiet=True))


def test_truth_that_cannot_be_read(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("treatment,strength\na,1\nb,much\n")
    with pytest.raises(UserError, match=r"line 3: strength must be a number, found 'much'"):
        read_truth(path)
    path.write_text("compound,strength\na,1\n")
    with pytest.raises(UserError, match="no column 'treatment'"):
        read_truth(path)
    path.write_text("Metadata_treatment,strength\nNA,0.5\n")
    assert read_truth(path) == {"NA": 0.5}
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no profiles found, expected <experiment>/profiles"):
        run(ReportOptions(project=tmp_path / "empty"), Console(quiet=True))
