"""The report on assays: the study's numbers follow from its published scores."""

import numpy as np
import pytest
from rich.console import Console

from cellml.commands.activity_report import ReportOptions, run
from cellml.report.activity_figures import draw_curves, draw_overlap
from cellml.report.activity_report import compared, write_activity_report
from cellml.report.activity_results import AssayStudy, Fusion
from cellml.report.activity_tables import modalities, other_scores, paired, predictors, types
from tests.report.page_checks import outside_resources, parse, repeated_ids, text_of

NAN = np.nan


@pytest.fixture
def study() -> AssayStudy:
    """Six assays by two modalities and their fusion, one assay undefined."""
    return AssayStudy(
        assays=tuple("abcdef"),
        auroc={
            "CS": np.array([0.95, 0.75, 0.6, 0.4, NAN, 0.91]),
            "MO": np.array([0.55, 0.95, 0.72, 0.4, NAN, 0.92]),
            "CS+MO": np.array([0.85, 0.93, 0.94, 0.45, NAN, 0.5]),
        },
        statistic="median",
        singles=("CS", "MO"),
        fusions=(Fusion(("CS", "MO"), late="CS+MO"),),
        types=("cell", "cell", "cell", "yeast", "yeast", "worm"),
        others={"ef1": {"CS": np.array([2.0, 4, NAN, 1, 1, 1])}},
    )


def test_tables_by_hand(study):
    first = predictors(study)
    assert first.rows[0] == ["CS", "4 (67 %)", "3 (50 %)", "2 (33 %)", "0.722", "0.750", "1"]
    # Three equal counts above .7 and .9: none is the largest.
    assert first.strong == {(0, 1), (1, 1), (2, 4), (2, 5)}
    second = {row[0]: row[1:] for row in modalities(study, 0.9).rows}
    assert second == {
        "one modality": ["2", "2", "-"],
        "late fusion": ["-", "-", "2"],
        "in every single one": ["-", "-", "1"],
        "union of the single ones": ["-", "-", "3"],
        "single ones and late fusion": ["-", "-", "4 (67 %)"],
    }
    by_type = types(study, ("CS",), 0.7)
    assert by_type.rows == [["cell", "3", "2 (0.75)"], ["yeast", "2", "0 (0.40)"],
                            ["worm", "1", "1 (0.91)"]]  # fmt: skip
    scores = other_scores(study)
    assert scores is not None
    assert scores.rows == [["CS", "1.8"]]
    row = paired(study, [("CS", "MO")]).rows[0]
    assert (row[1], row[4], row[5]) == ("5", "3", "1")
    assert compared(study) == [("CS", "MO"), ("CS", "CS+MO"), ("MO", "CS+MO")]


def test_the_page_is_whole_and_equal_input_gives_equal_bytes(study, tmp_path):
    page = write_activity_report(tmp_path / "a", study, title="T", facts={"x": "y"}).read_text()
    parse(page)
    assert not outside_resources(page)
    assert not repeated_ids(page)
    text = text_of(page)
    assert "Of the 3 assays that some single modality predicts above 0.9, 1 are" in text
    assert "Figure 32." in text
    write_activity_report(tmp_path / "b", study, title="T", facts={"x": "y"})
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_figures_of_one_predictor_and_of_many(study, tmp_path):
    one = AssayStudy(("a", "b"), {"CS": np.array([0.95, NAN])}, "mean", ("CS",))
    assert "<svg" in draw_curves(one, tmp_path / "c1")
    assert "CS (1)" in draw_overlap(one, 0.9, tmp_path / "o1")
    assert "<svg" in draw_overlap(one, 0.99, tmp_path / "o2")  # nothing passes
    names = tuple("vwxyz")
    rng = np.random.default_rng(0)
    many = AssayStudy(tuple(map(str, range(30))), {n: rng.random(30) for n in names}, "mean", names)
    assert "z (" in draw_overlap(many, 0.5, tmp_path / "o5")
    with pytest.raises(ValueError, match="no predictor 'GE'"):
        AssayStudy(("a",), {"CS": np.zeros(1)}, "mean", ("GE",))


def test_the_studys_numbers_follow_from_its_published_scores(shared_data, tmp_path):
    folder = shared_data / "activity" / "moshkov_natcomm2023"
    options = ReportOptions(
        [folder / "predictions" / f"scaffold_median_{name}.csv" for name in ("AUC", "EF")],
        tmp_path,
        published=True,
        assay_types=folder / "assay_data" / "assay_metadata.csv",
    )
    found = run(options, Console(quiet=True))
    names = ["CS", "GE", "MO", "CS+GE, late", "CS+MO, late", "GE+MO, late", "CS+GE+MO, late"]
    assert len(found["predictors"]) == 17
    for limit, expected in (
        ("0.9", [16, 19, 28, 18, 31, 28, 28]),
        ("0.7", [102, 71, 102, 109, 124, 108, 117]),
    ):
        assert [found["predictors"][name]["above"][limit] for name in names] == expected
    fusions = [found["fusions"][name] for name in ("CS+GE", "CS+MO", "GE+MO", "all")]
    assert [f["union"]["0.9"] for f in fusions] == [33, 41, 41, 52]
    assert [f["best_with_late_fusion"]["0.9"] for f in fusions] == [37, 44, 48, 57]
    assert [f["best_with_late_fusion"]["0.7"] for f in fusions] == [151, 157, 139, 174]
    assert sum(found["overlap"]["0.9"].values()) == 52
    text = text_of((tmp_path / "report.html").read_text())
    assert "57 (21 %)" in text
    assert "174 (64 %)" in text
