"""The report on profiles: which features tell mechanisms apart, what sphering does, who is strong.

Numbers come in as `ExperimentResult`; figures and page go into one folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cellml.report import profiling_tables as tables
from cellml.report.html import Chapter, Figure, Headline, Section, Table, write_report
from cellml.report.profiling_figures import (
    draw_map_against_enrichment,
    draw_precision_recall,
    draw_strength,
    draw_sweep,
    draw_training,
)
from cellml.report.profiling_maps import draw_maps
from cellml.report.profiling_quality import QualityControl, quality_chapter
from cellml.report.profiling_results import ExperimentResult, shown_lambda

PAGE = "report.html"
OPTIMISTIC = (
    "The best lambda is the one with the highest mAP in this very table, so it was chosen on the "
    "labels that it is scored with: its scores are optimistic. Those of the default lambda, which "
    "was fixed before anything was scored, are not."
)


def write_profiling_report(
    folder: Path,
    results: Sequence[ExperimentResult],
    *,
    title: str,
    facts: Mapping[str, str],
    quality: Sequence[QualityControl] = (),
) -> Path:
    """Draws all figures as PNG and SVG into a folder and writes the page beside them.

    Args:
      folder: Made if needed.
      results: At least one experiment; names differ.
      title: Of the page.
      facts: Name and value of what the run was made with.
      quality: What quality control found, where it was done.

    Returns:
      The page; it needs no other file.
    """
    chapters = [
        _comparison(folder, results),
        _sphering(folder, results),
        _maps(folder, results),
    ]
    if any(result.strengths for result in results):
        chapters.append(_strengths(folder, results))
    if quality:
        chapters.append(quality_chapter(quality))
    training = draw_training(results, folder / "training_f1")
    if training is not None:
        chapters.append(_training(training, results))
    page = folder / PAGE
    write_report(page, title, _introduction(results), chapters, facts)
    return page


def file_name(experiment: str) -> str:
    """The experiment's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in experiment)


def _introduction(results: Sequence[ExperimentResult]) -> str:
    names = ", ".join(result.name for result in results)
    kinds = "set of features" if len(results) == 1 else "sets of features"
    return (
        f"{len(results)} {kinds} ({names}), compared by how well treatments of one mechanism find "
        "each other, before and after sphering by the controls."
    )


def _comparison(folder: Path, results: Sequence[ExperimentResult]) -> Chapter:
    paragraphs = [
        "Wells of a treatment are averaged. Every treatment with a mechanism ranks all others by "
        "cosine similarity; those that share its mechanism are right answers. mAP is the mean "
        "average precision over the treatments with at least two right answers. Folds of "
        "enrichment is the odds ratio of right answers among the most similar 1 %; its mean is "
        "dominated by queries whose ratio is infinite (and counted as the number of treatments), "
        "so the median and the mean log odds with Haldane's correction stand beside it.",
        "The protocol strict is what the text of Moshkov et al. 2024 says; moshkov2024 is what "
        "their notebooks computed, where a treatment without a partner counts as a hit of the top "
        "1 %. Only numbers of one protocol are comparable.",
    ]
    curves = Figure(
        draw_precision_recall(results, folder / "precision_recall"),
        "Mean interpolated precision over the queries of mAP, protocol strict.",
        "Precision and recall",
    )
    scatter = Figure(
        draw_map_against_enrichment(results, folder / "map_against_enrichment"),
        "Up and to the right is better. Lines join the variants of one set of features. Enrichment "
        "is its mean, as in the dissertation's figure 22.",
        "mAP against folds of enrichment",
    )
    sections = [
        Section("The sets of features side by side", paragraphs, [tables.summary(results)]),
        Section("Curves", (), [scatter, curves]),
        Section("All scores", [OPTIMISTIC], [tables.all_scores(results)]),
        Section(
            "Replicates and batches",
            [
                "Wells of one treatment should find each other, wells of one batch should not. "
                "Here every well is a query and its replicates are the right answers."
            ],
            [tables.replicates(results)],
        ),
    ]
    notes = [f"{result.name}: {note}." for result in results for note in result.notes]
    if notes:
        sections.append(Section("Left out", notes))
    return Chapter(
        "Do similar profiles share mechanisms?",
        "One table for all sets of features, raw and sphered, under both protocols.",
        sections,
        _headlines(results),
    )


def _headlines(results: Sequence[ExperimentResult]) -> list[Headline]:
    found = []
    for result in results:
        sphered = result.sphered
        after = (
            "" if sphered is None else f" \N{RIGHTWARDS ARROW} {tables.number(sphered.strict.map)}"
        )
        found.append(
            Headline(
                tables.number(result.raw.strict.map) + after,
                f"{result.name}: mAP raw"
                + ("" if sphered is None else f" and sphered (lambda {result.default:g})"),
            )
        )
    return found


def _sphering(folder: Path, results: Sequence[ExperimentResult]) -> Chapter:
    paragraphs = [
        "Sphering turns and scales the features such that the controls vary alike in all "
        "directions: what varies among untreated wells, such as staining or the place on the "
        "plate, loses its weight. Lambda is added to the eigenvalues of the controls' covariance "
        "and keeps directions of hardly any variance from being blown up.",
        OPTIMISTIC,
    ]
    figure = Figure(
        draw_sweep(results, folder / "lambda_sweep"),
        "Circles: the highest mAP. Grey bar: the default lambda. Dotted: mAP expected of a random "
        "ranking.",
        "Every lambda that was tried",
    )
    sections = [Section("The sweep", paragraphs, [figure])]
    sections += [
        Section(f"Sweep of {result.name}", _best_words(result), [tables.sweep_scores(result)])
        for result in results
    ]
    return Chapter(
        "What sphering does",
        "The whole sweep over its regularisation, not only its best.",
        sections,
    )


def _best_words(result: ExperimentResult) -> list[str]:
    if result.sphered is None:
        return ["Not sphered, so there is one row only."]
    best, default = result.best, result.sphered
    if best.regularisation == default.regularisation:
        return [f"The default lambda {result.default:g} has the highest mAP as well."]
    gain = best.strict.map - default.strict.map
    what = (
        "Leaving the profiles as they came"
        if best.regularisation is None
        else f"Lambda {shown_lambda(best.regularisation)}"
    )
    return [
        f"{what} has the highest mAP, {gain:.3f} above the default lambda {result.default:g}; it "
        "was chosen on these labels."
    ]


def _maps(folder: Path, results: Sequence[ExperimentResult]) -> Chapter:
    sections = []
    for result in results:
        wells = result.maps
        figures = []
        for kind in wells.maps:
            label = f"{kind} of the wells of {result.name}, before and after sphering"
            stem = folder / f"{kind.lower()}_{file_name(result.name)}"
            figures.append(
                Figure(draw_maps(wells, kind, stem, label=label), _map_caption(result, kind), kind)
            )
        sections.append(Section(f"Wells of {result.name}", (), figures))
    return Chapter(
        "Where the wells lie",
        "Good profiles mix the batches and part the mechanisms. Maps are for the eye; the scores "
        "above are computed from all features.",
        sections,
    )


def _map_caption(result: ExperimentResult, kind: str) -> str:
    shown = len(result.maps.batches)
    text = f"{shown} wells"
    if shown < result.maps.n_wells:
        text += f", drawn at random from {result.maps.n_wells}"
    if result.sphered is not None:
        text += f"; below, sphered with the default lambda {result.default:g}"
    text += ". The curves are densities of each group along the axes, each of area 1."
    if kind == "UMAP":
        text += " Distances between groups far apart mean little on a map of UMAP."
    else:
        text += " An axis with a long tail is compressed, as asinh."
    return text


def _strengths(folder: Path, results: Sequence[ExperimentResult]) -> Chapter:
    paragraph = (
        "Per plate, the distance of every well to the median profile of the controls, as a z-score "
        "by the distances of the control wells themselves; a treatment has the mean over its "
        "wells. The sum, which the dissertation ranks by, favours treatments with more replicates "
        "(it is in report.json). With fewer control wells than features, sphering puts all "
        "controls at nearly one distance from their median, and their spread, the unit of the "
        "z-scores, vanishes: figures then show profiles that are not sphered."
    )
    sections = [Section("How it is measured", [paragraph], tables.strengths(results))]
    for result in results:
        if not result.strengths:
            continue
        ranking = result.strengths[0]
        label = f"Strength of the treatments, {result.name}"
        picture = draw_strength(ranking, folder / f"strength_{file_name(result.name)}", label=label)
        caption = f"Profiles {ranking.space}. Outside the band of +-2 few control wells lie. "
        caption += (
            "Grey are treatments without a mechanism or of one that is not among the largest."
        )
        if ranking.truth is not None:
            n = int((~np.isnan(ranking.truth)).sum())
            caption += f" Right: {n} treatments whose true strength is known."
        blocks: list[Figure | Table] = [Figure(picture, caption)]
        sections.append(Section(f"Strengths by {result.name}", (), blocks))
    return Chapter(
        "How strong the treatments are",
        "Distance from the controls in units of their own spread.",
        sections,
    )


def _training(picture, results: Sequence[ExperimentResult]) -> Chapter:
    paragraph = (
        "F1 of naming a cell's treatment, averaged over the treatments. What it reaches on "
        "validation cells depends on what is held out: cells of the training wells share plate and "
        "staining with them and are easy, those of other plates are not. Features are compared by "
        "the scores above, not by this."
    )
    figure = Figure(
        picture, "Training cells are scored as they are, without augmentation.", "F1 by epoch"
    )
    return Chapter(
        "How the networks trained",
        "F1 of training and validation cells over the epochs.",
        [Section("Training curves", [paragraph], [figure, *tables.training(results)])],
    )
