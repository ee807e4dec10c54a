"""A study from a config: what is trained once, fused, chosen, summed up and set beside others."""

import csv
import json
import signal

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from cellml.commands import activity_study_run, activity_study_steps, activity_train
from cellml.commands.activity_inputs import CompoundSource
from cellml.commands.activity_published import PublishedScores, compare_published
from cellml.commands.activity_study_choice import choose_by_validation
from cellml.commands.activity_study_run import Place, train_options
from cellml.commands.activity_study_summary import over_seeds
from cellml.commands.activity_study_tables import Prepared, prepare
from cellml.data.assay_tables import read_assays
from cellml.errors import UsageError, UserError
from cellml.experiment.activity_study import read_study
from cellml.experiment.activity_study_presets import PUBLISHED, broad, dissertation
from cellml.screening.fusion import fuse
from cellml.train.loop import TrainingInterrupted
from tests.cli.compounds import SMILES, compounds, predictions, readouts, write_rows

QUIET = Console(quiet=True)
TINY = ("model.members=1", "model.hidden=[16]", "model.fingerprint.size=64", "train.epochs=2",
        "train.batch_size=16")  # fmt: skip


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def config_of(folder, **changes):
    """Morgan bits and two profiles on 60 compounds of three folds, one of them held out last."""
    config = dissertation()
    config.folder = str(folder)
    folds = {"column": "fold", "holdout": ("0", "2")}
    config.tables = ConfigDict({"t": {"path": "a.csv", "folds": folds}})
    config.features = ConfigDict({"MO": "mo.csv", "GE-S": "ge.csv"})
    morgan = {"preset": "morgan", "changes": TINY}
    config.predictors = ConfigDict(
        {
            "GE-MF": {**morgan, "features": ("GE-S",)},
            "MF": morgan,
            "MO": {**morgan, "structures": "none", "features": ("MO",)},
        }
    )
    both = ("MF", "MO")
    config.late = ConfigDict({rule: {"parts": both, "rule": rule} for rule in ("mean", "stacking")})
    config.chosen = ConfigDict({"chosen": (*both, "mean")})
    config.best_of = ConfigDict({"best": both})
    config.report = ConfigDict({"singles": {"CS": "MF", "MO": "MO"}, "late": {"CS+MO": "mean"},
                                "early": {}})  # fmt: skip
    config.published = ConfigDict({"MF": "cpcl_es_op"})
    for name, value in changes.items():
        config[name] = value
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    compounds(folder / "a.csv")
    rng = np.random.default_rng(0)
    for name, width in (("mo", 3), ("ge", 2)):
        values = rng.normal(size=(len(SMILES), width)).round(4)
        header = ["smiles", *(f"{name}{i}" for i in range(width))]
        lines = [[s, *v] for s, v in zip(SMILES, values.tolist(), strict=True)]
        write_rows(folder / f"{name}.csv", header, lines)
    published = [[a, auc, "cpcl_es_op"] for a, auc in (("A", 0.8), ("B", ""), ("Z", 0.3))]
    write_rows(folder / "scaffold_median_AUC.csv", ["assay_id", "auc", "descriptor"], published)
    return folder


@pytest.fixture(scope="module")
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
        yield


@pytest.fixture(scope="module")
def study(data, one_device, tmp_path_factory):
    """A study that is stopped during its second training and then goes on."""
    out = tmp_path_factory.mktemp("study")
    train, trained = activity_study_steps.experiment.run, []

    def stopped(config, folder):
        trained.append((folder.parent.name, folder.name))
        if len(trained) == 2:
            raise TrainingInterrupted(0, signal.SIGTERM)
        return train(config, folder)

    config = config_of(data, seeds=(3,))
    del config.predictors["GE-MF"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(activity_study_steps.experiment, "run", stopped)
        with pytest.raises(TrainingInterrupted):
            activity_study_run.run(config, out, QUIET)
        facts = activity_study_run.run(config, out, QUIET, published=data)
        n_trained = len(trained)
        for command in (activity_study_run.activity_evaluate, activity_study_run.activity_report):
            patch.setattr(command, "run", lambda *_, **__: None)  # their files are there
        again = activity_study_run.run(config, out, QUIET)
    assert again == facts
    return out, facts, trained, n_trained


def test_a_finished_fold_is_not_trained_again(study):
    out, _, trained, n_trained = study
    every = [(name, f"fold_{fold}") for name in ("MF", "MO") for fold in (0, 2)]
    assert trained == [*every[:2], *every[1:]]  # the second again
    assert len(trained) == n_trained  # nothing the third time
    assert {row["fold"] for row in rows(out / "t" / "seed_3" / "predictions" / "MF.csv")} == {
        "0", "2",
    }  # fmt: skip


def test_the_summary_follows_from_the_scores(study):
    out, facts, *_ = study
    found = facts["tables"]["t"]
    scores = rows(out / "t" / "seed_3" / "scores" / "assays.csv")
    median = np.array([float(r["auroc_median"]) for r in scores if r["predictor"] == "MO"])
    assert len(median) == 3
    assert found["MO"]["mean"] == pytest.approx(median.mean())
    assert found["MO"]["sd_over_assays"] == pytest.approx(median.std(ddof=1))
    assert found["MO"]["above"]["0.5"] == (median > 0.5).sum()
    by_fold = rows(out / "t" / "seed_3" / "scores" / "folds.csv")
    means = [np.mean([float(r["auroc"]) for r in by_fold
                      if (r["predictor"], r["fold"]) == ("MO", fold) and r["auroc"]])
             for fold in "02"]  # fmt: skip
    assert found["MO"]["mean_of_folds"] == pytest.approx(np.mean(means))
    assert found["MO"]["sd_over_folds"] == pytest.approx(np.std(means, ddof=1))
    assert found["best"]["mean"] >= max(found["MF"]["mean"], found["MO"]["mean"])
    assert found["best"]["mean_of_folds"] is None
    kinds = {name: one["kind"] for name, one in found.items()}
    assert kinds == {"MF": "single", "MO": "single", "mean": "late",
                     "stacking": "late", "chosen": "chosen", "linear": "single",
                     "best": "retrospective"}  # fmt: skip
    table = {row["predictor"]: row for row in rows(out / "study.csv")}
    assert float(table["MO"]["mean"]) == pytest.approx(found["MO"]["mean"], abs=1e-6)
    assert table["best"]["sd_over_folds"] == ""
    assert json.loads((out / "study.json").read_text()) == facts


def test_fusions_and_the_choice_are_of_what_they_say(study):
    out, *_ = study
    folder = out / "t" / "seed_3"
    parts = {name: {r["smiles"]: r for r in rows(folder / "predictions" / f"{name}.csv")}
             for name in ("MF", "MO", "mean", "chosen")}  # fmt: skip
    for smiles, row in parts["mean"].items():
        values = np.array([[[float(parts[n][smiles][a]) for a in "ABC"]] for n in ("MF", "MO")])
        np.testing.assert_allclose([float(row[a]) for a in "ABC"], fuse(values, "mean")[0],
                                   atol=1e-6)  # fmt: skip
    choices = json.loads((folder / "chosen.json").read_text())["chosen"]
    assert set(choices) == {"0", "2"}
    for smiles, row in parts["chosen"].items():
        scores = choices[row["fold"]]
        names = ("MF", "MO", "mean")
        assert scores[scores["chosen"]] == max(scores[name] or 0 for name in names)
        assert row == parts[scores["chosen"]][smiles]


def test_published_scores_stand_beside_ours(study):
    out, *_ = study
    scores = out / "t" / "seed_3" / "scores"
    found = rows(scores / "published.csv")
    ours = {r["assay"]: r["auroc_median"] for r in rows(scores / "assays.csv")
            if r["predictor"] == "MF"}  # fmt: skip
    assert [(r["assay"], r["MF, published"]) for r in found] == [("A", "0.8"), ("B", ""),
                                                                 ("C", "")]  # fmt: skip
    assert {r["assay"]: r["MF"] for r in found} == ours
    page = (out / "t" / "seed_3" / "report" / "report.html").read_text()
    assert "Beside the published scores" in page
    assert (out / "t" / "seed_3" / "report" / "published_0.png").is_file()


def test_what_does_not_fit_the_published_scores(study, data, tmp_path):
    out, *_ = study
    with pytest.raises(UsageError, match=r"no scaffold_mean_AUC\.csv \(found: .*median_AUC"):
        PublishedScores.read(data, "mean")
    scores = out / "t" / "seed_3" / "scores" / "assays.csv"
    published = PublishedScores.read(data, "median")
    for names, message in (({"MF": "cpcl_op"}, "did you mean 'cpcl_es_op'"), ({"MX": "x"}, "'MX'")):
        with pytest.raises(UserError, match=message):
            compare_published(scores, names, published, tmp_path)
    other = write_rows(tmp_path / "scaffold_median_AUC.csv", ["assay_id", "auc", "descriptor"],
                       [["Q", 0.5, "cpcl_es_op"]])  # fmt: skip
    with pytest.raises(UserError, match="none of the assays A, B, C"):
        compare_published(scores, {"MF": "cpcl_es_op"},
                          PublishedScores.read(other.parent, "median"), tmp_path)  # fmt: skip


def test_a_folder_of_another_study_is_refused(study, data):
    out, *_ = study
    config = config_of(data, seeds=(3,))
    config.predictors.MF.changes = (*TINY, "model.dropout=0.5")
    with pytest.raises(UsageError, match=r"MF/fold_0: holds a training with other data or sett"):
        activity_study_run.run(config, out, QUIET)


def test_the_digest_follows_content_and_not_places(data, tmp_path):
    labels = readouts(1)
    other = compounds(tmp_path / "b.csv", labels=labels)
    copy = tmp_path / "copy.csv"
    copy.write_bytes((data / "a.csv").read_bytes())
    digests = []
    for path in (data / "a.csv", copy, other):
        config = activity_train.PRESETS["morgan"]()
        config.data.path = str(path)
        digests.append(activity_study_steps.config_digest(config))
    assert digests[0] == digests[1] != digests[2]


def test_the_choice_is_by_validation_compounds_alone(tmp_path):
    """Candidate x ranks validation compounds rightly and held-out ones wrongly; y the reverse."""
    table = read_assays(compounds(tmp_path / "a.csv"), ignore=["fold"])
    truth = np.nan_to_num(table.labels, nan=0.5)
    held_out = [i for i in range(len(SMILES)) if i % 3 == 0]
    others = [i for i in range(len(SMILES)) if i % 3 == 1]
    files, validation = {}, {}
    for name, right in (("y", False), ("x", True)):
        files[name] = predictions(tmp_path / f"{name}.csv", truth if not right else 1 - truth,
                                  rows=held_out)  # fmt: skip
        values = truth if right else 1 - truth
        lines = [[SMILES[i], 0, *values[i].tolist()] for i in others]
        validation[name] = write_rows(
            tmp_path / f"{name}_val.csv", ["smiles", "run", *"ABC"], lines
        )
    found = choose_by_validation(files, validation, table, tmp_path / "out.csv")
    assert found == {"0": {"chosen": "x", "x": 1.0, "y": 0.0}}
    np.testing.assert_array_equal([float(r["A"]) for r in rows(tmp_path / "out.csv")],
                                  1 - truth[held_out, 0])  # fmt: skip
    lines = [[SMILES[1], 1, 0.5, 0.5, 0.5]]
    write_rows(validation["x"], ["smiles", "run", *"ABC"], lines)
    with pytest.raises(UserError, match=r"x_val\.csv: no prediction of run '0'.*found 1"):
        choose_by_validation(files, validation, table, tmp_path / "out2.csv")
    assert not (tmp_path / "out2.csv").exists()


def test_folds_of_another_table_are_joined_by_skeleton(tmp_path):
    write_rows(tmp_path / "a.csv", ["smiles", "A"],
               [["C[C@H](N)C(=O)O", 1], ["CCO", 0], ["c1ccccc1", 1], ["CCN", 0]])  # fmt: skip
    header = ["row", "smiles", "f"]
    write_rows(
        tmp_path / "f.csv", header, [[0, "C[C@@H](N)C(=O)O", 3], [1, "OCC", 1], [2, "CCN", 3]]
    )
    config = config_of(tmp_path)
    config.tables = ConfigDict({"t": {"path": "a.csv", "folds": {
        "column": "f", "table": "f.csv", "smiles_column": "smiles"}}})  # fmt: skip
    study = read_study(config)
    prepared = prepare(study, study.tables[0], tmp_path / "out", QUIET)
    assert [(r["fold"], r["A"]) for r in rows(prepared.source.path)] == [
        ("3", "1"), ("1", "0"), ("", "1"), ("3", "0"),
    ]  # fmt: skip
    write_rows(tmp_path / "f.csv", header, [[0, "C[C@@H](N)C(=O)O", 3], [1, "CC(N)C(=O)O", 1]])
    with pytest.raises(UserError, match=r"f\.csv, line 3: skeleton .* in fold '1' here and in"):
        prepare(study, study.tables[0], tmp_path / "out2", QUIET)
    write_rows(tmp_path / "f.csv", header, [[0, "CCCC", 3]])
    with pytest.raises(UserError, match="no compound has the skeleton"):
        prepare(study, study.tables[0], tmp_path / "out2", QUIET)
    assert not (tmp_path / "out2").exists()


@pytest.mark.parametrize("make", [broad, dissertation])
def test_every_predictor_of_the_configs_makes_a_training(make, tmp_path):
    config = make()
    members = {"CS-GC": 2, "CS-MF": 5, "CS-TK": 1} if make is broad else {}
    study = read_study(config)
    data = Prepared(CompoundSource(tmp_path / "a.csv"), dict(study.features), None)
    place = Place(study.tables[0], data, 0, tmp_path / "seed_3")
    for predictor in study.predictors:
        made = activity_train.base_config(train_options(study, predictor, place))
        n_features = len(predictor.features)
        assert len(made.data.features) == n_features
        alone = made.model.representation == "features_only"
        assert alone == (predictor.structures == "none")
        assert made.model.members == members.get(predictor.name, 8)
        if made.model.representation != "tanimoto":
            assert made.data.scale_features == (make is broad)
        assert made.data.cache == str(tmp_path / "molecules")


def test_the_dissertation_has_the_17_predictors_of_the_published_files(shared_data):
    study = read_study(dissertation())
    ours = [*(p.name for p in study.predictors), *(f.name for f in study.late)]
    assert set(ours) == set(PUBLISHED)
    assert len(set(PUBLISHED.values())) == 17
    folder = shared_data / "activity" / "moshkov_natcomm2023" / "predictions"
    assert set(PublishedScores.read(folder, "median").table.scores) == set(PUBLISHED.values())


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("late", {"x": {"parts": ("MF", "MQ"), "rule": "mean"}}, r"late\.x\.parts: no .*'MQ'"),
        ("late", {"x": {"parts": ("MF", "MO"), "rule": "median"}}, "one of maximum, mean"),
        ("late", {"x": {"parts": ("MF",), "rule": "mean"}}, "two predictors or more"),
        ("chosen", {"c": ("MF", "stacking")}, "'stacking' was fitted on the validation"),
        ("predictors", {"MF": {"preset": "morgen"}}, r"MF\.preset: found 'morgen', one of"),
        ("predictors", {"MF": {"preset": "morgan", "epochs": 3}}, "unknown entry 'epochs'"),
        ("predictors", {"linear": {"preset": "morgan"}}, "'linear', which is the baseline"),
        ("predictors", {"MF": {"preset": "morgan", "features": ("GE",)}}, "did you mean 'GE-S'"),
        ("predictors", {"MF": {"preset": "morgan", "structures": "none"}}, "it needs features"),
        ("tables", {"t": {"path": "a.csv", "folds": {}}}, "either a column"),
        ("tables", {"t": {"folds": {"column": "fold"}}}, "'path' is missing"),
        ("report", {"singles": {}, "late": {}, "early": {}}, "a predictor or more"),
        ("seeds", (), "seeds expected"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit(tmp_path, entry, value, message):
    config = config_of(tmp_path)
    config[entry] = ConfigDict(value) if isinstance(value, dict) else value
    with pytest.raises(UsageError, match=message):
        read_study(config)


def test_files_that_are_missing_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"a\.csv: no such file \(3 of the config's files"):
        activity_study_run.run(config_of(tmp_path), tmp_path / "out", QUIET)
    assert not (tmp_path / "out").exists()


def test_seeds_are_joined_where_a_score_is_undefined():
    one = {"kind": "single", "assays": 2, "undefined": 1, "mean": 0.6, "median": 0.6,
           "sd_over_assays": None, "mean_of_folds": 0.5, "sd_over_folds": None, "ap": 0.1,
           "ef1": None, "above": {"0.5": 1}}  # fmt: skip
    found = over_seeds([{"a": one}, {"a": {**one, "mean": None, "above": {"0.5": 0}}}])["a"]
    assert (found["mean"], found["ef1"], found["above"]) == (0.6, None, {"0.5": 0.5})
    assert found["sd_over_seeds"] is None  # of one number
    found = over_seeds([{"a": {**one, "mean": mean}} for mean in (0.5, 0.6, 0.8)])["a"]
    assert found["mean"] == pytest.approx(1.9 / 3)
    assert found["sd_over_seeds"] == pytest.approx(np.std([0.5, 0.6, 0.8], ddof=1))
