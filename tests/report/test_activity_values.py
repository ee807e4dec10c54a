"""The report on values and classes: by hand, whole, and of what `evaluate` writes."""

import csv
import json

import numpy as np
import pytest
from rich.console import Console

from cellml.commands.activity_report import ReportOptions, run
from cellml.errors import UsageError
from cellml.report.activity_values import (
    ValueStudy,
    assay_table,
    draw_scores,
    means_table,
    paired_table,
    write_value_report,
)
from tests.report.page_checks import outside_resources, parse, repeated_ids, text_of

NAN = np.nan
QUIET = Console(quiet=True)


@pytest.fixture
def study() -> ValueStudy:
    """Three assays, one undefined for a predictor."""
    return ValueStudy(
        "regression",
        ("a", "b", "c"),
        {
            "rmse": {"net": np.array([1.0, 0.5, 3.0]), "linear": np.array([2.0, 0.4, NAN])},
            "r2": {"net": np.array([0.5, 0.1, -0.3]), "linear": np.array([0.2, 0.3, NAN])},
        },
        "median",
    )


def test_tables_by_hand(study):
    means = means_table(study)
    assert means.columns == ["predictor", "RMSE", "R2"]
    assert means.rows == [["net", "1.500", "0.100"], ["linear", "1.200", "0.250"]]
    assert means.strong == {(1, 1), (1, 2)}  # the smallest error, the largest share
    assert "Assays without a score: linear 1." in means.caption
    each = assay_table(study, "rmse")
    assert each.rows == [["a", "1.000", "2.000"], ["b", "0.500", "0.400"], ["c", "3.000", "-"]]
    assert each.strong == {(0, 1), (1, 2), (2, 1)}
    assert assay_table(study, "r2").strong == {(0, 1), (1, 2), (2, 1)}
    row = paired_table(study, "rmse").rows[0]
    assert (row[0], row[1], row[2]) == ("linear against net", "2", "+0.450")
    assert (row[4], row[5]) == ("1", "1")
    row = paired_table(study, "r2").rows[0]
    assert (row[2], row[4], row[5]) == ("-0.050", "1", "1")


def test_better_is_smaller_for_errors():
    scores = {"net": np.array([1.0, 2.0, 3.0]), "linear": np.array([2.0, 3.0, 2.5])}
    for score, better in (("rmse", "1"), ("r2", "2")):
        study = ValueStudy("regression", ("a", "b", "c"), {score: scores}, "mean")
        assert paired_table(study, score).rows[0][4] == better


def test_the_page_is_whole_and_equal_input_gives_equal_bytes(study, tmp_path):
    page = write_value_report(tmp_path / "a", study, title="T", facts={"x": "y"}).read_text()
    parse(page)
    assert not outside_resources(page)
    assert not repeated_ids(page)
    text = text_of(page)
    assert "2 predictors of 3 assays, whose readouts are values" in text
    assert "AUROC" not in text
    write_value_report(tmp_path / "b", study, title="T", facts={"x": "y"})
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_one_predictor_of_one_assay_and_classes(tmp_path):
    one = ValueStudy("regression", ("a",), {"rmse": {"net": np.array([NAN])}}, "mean")
    assert "<svg" in draw_scores(one, tmp_path / "s")
    page = write_value_report(tmp_path / "one", one, title="T", facts={}).read_text()
    assert "1 predictor of 1 assay" in text_of(page)
    assert "Assay by assay" not in text_of(page)  # the first table says it
    scores = {name: {"net": np.array([0.5, 0.7]), "l": np.array([0.4, NAN])}
              for name in ("accuracy", "cross_entropy", "auroc_macro")}  # fmt: skip
    classes = ValueStudy("multiclass", ("a", "b"), scores, "mean", ("cell", "yeast"))
    text = text_of(write_value_report(tmp_path / "c", classes, title="T", facts={}).read_text())
    alone = ValueStudy(
        "multiclass", ("a", "b"), {"accuracy": {"net": np.array([0.5, 0.7])}}, "mean"
    )
    page = write_value_report(tmp_path / "alone", alone, title="T", facts={}).read_text()
    assert "There is one predictor only." in text_of(page)
    assert "whose readouts are classes" in text
    assert "AUROC, macro of each assay; larger is better." in text


def test_the_command_chooses_the_report_by_the_scores(tmp_path):
    path = tmp_path / "assays.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["predictor", "assay", "n_tested", "rmse_median", "rmse_mean", "r2_median"])
        lines.writerows([["net", "a", 9, 1.5, 1.7, 0.4], ["net", "b", 9, 0.5, 0.7, ""]])
    found = run(ReportOptions([path], tmp_path / "out"), QUIET)
    assert found["kind"] == "regression"
    assert found["predictors"]["net"]["rmse"] == {"mean": 1.0, "median": 1.0, "undefined": 0}
    assert found["predictors"]["net"]["r2"]["undefined"] == 1
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == found
    text = text_of((tmp_path / "out" / "report.html").read_text())
    assert "Readouts predicted from structures and profiles" in text
    assert "Table 1." not in text
    mean = run(ReportOptions([path], tmp_path / "mean", statistic="mean"), QUIET)
    assert mean["predictors"]["net"]["rmse"]["mean"] == pytest.approx(1.2)
    with pytest.raises(UsageError, match="scores of regression readouts"):
        run(ReportOptions([path], tmp_path / "x", singles=["net"]), QUIET)
