"""The report on assays: which modality predicts which assays, and how they complete each other."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from cellml.metrics.assay_summary import assay_overlap, count_above
from cellml.report import activity_tables as tables
from cellml.report.activity_figures import draw_curves, draw_overlap, draw_pairs, draw_types
from cellml.report.activity_results import AssayStudy
from cellml.report.activity_trust import trust_chapters
from cellml.report.activity_trust_results import Trust
from cellml.report.html import Chapter, Figure, Headline, Section, Table, write_report

PAGE = "report.html"
HIGH, MIDDLE = 0.9, 0.7
PAIRS_DRAWN = 3


def write_activity_report(
    folder: Path,
    study: AssayStudy,
    *,
    title: str,
    facts: Mapping[str, str],
    trust: Trust | None = None,
    more: Sequence[Chapter] = (),
) -> Path:
    """Draws all figures as PNG and SVG into a folder and writes the page beside them.

    Args:
      folder: Made if needed.
      study: Scores and what belongs together.
      title: Of the page.
      facts: Name and value of what the scores come from.
      trust: Calibration, spread and scores by similarity, where they are known.
      more: Chapters for the end of the page.

    Returns:
      The page; it needs no other file.
    """
    chapters = [_predictors(folder, study), _modalities(folder, study)]
    if study.types:
        chapters.append(_types(folder, study))
    chapters.append(_tests(folder, study))
    if trust is not None:
        chapters += trust_chapters(folder, trust)
    page = folder / PAGE
    write_report(page, title, _introduction(study), [*chapters, *more], facts)
    return page


def compared(study: AssayStudy) -> list[tuple[str, str]]:
    """Pairs to test: the single predictors with each other, and each fusion with its parts."""
    pairs = list(combinations(study.singles, 2))
    for fusion in study.fusions:
        if fusion.late is not None:
            pairs += [(part, fusion.late) for part in fusion.parts]
        if fusion.late is not None and fusion.early is not None:
            pairs.append((fusion.early, fusion.late))
    return pairs


def _introduction(study: AssayStudy) -> str:
    return (
        f"{len(study.auroc)} predictors of {len(study.assays)} assays. An assay counts as "
        f"predicted where the {study.statistic} AUROC over the held-out folds lies above {HIGH:g}; "
        f"{MIDDLE:g} is given beside it. A fold without a hit of an assay, or with hits alone, has "
        "no AUROC and is left out; an assay without any counts as not predicted."
    )


def _predictors(folder: Path, study: AssayStudy) -> Chapter:
    blocks: list[Table | Figure] = [tables.predictors(study)]
    curves = Figure(
        draw_curves(study, folder / "counts_by_threshold"),
        "Figure 30. How many assays lie above each AUROC. Fine lines mark .7 and .9. The black "
        "curves choose the best predictor of each assay after the fact.",
        "Count against threshold",
    )
    sections = [Section("Every predictor by itself", (), blocks), Section("Curves", (), [curves])]
    others = tables.other_scores(study)
    if others is not None:
        sections.append(Section("Other scores", (), [others]))
    headlines = []
    for name in study.singles:
        counts = count_above(study.auroc[name])
        headlines.append(
            Headline(
                f"{counts.above[HIGH]} \N{MIDDLE DOT} {counts.above[MIDDLE]}",
                f"{name}: assays above {HIGH:g} \N{MIDDLE DOT} {MIDDLE:g}",
            )
        )
    return Chapter(
        "What each predictor reaches", "Counts of assays, predictor by predictor.", sections,
        headlines,
    )  # fmt: skip


def _modalities(folder: Path, study: AssayStudy) -> Chapter:
    found = assay_overlap(study.passed(study.singles, HIGH))
    alone = ", ".join(f"{found.exclusive[(name,)]} by {name} alone" for name in study.singles)
    paragraph = (
        f"Of the {found.union} assays that some single modality predicts above {HIGH:g}, "
        f"{found.intersection} are predicted by all of them; {alone}."
    )
    blocks: list[Table | Figure] = [
        tables.modalities(study, HIGH),
        tables.modalities(study, MIDDLE),
    ]
    figures = [
        Figure(
            draw_overlap(study, threshold, folder / f"overlap_{100 * threshold:.0f}"),
            f"Figure 31. Assays above {threshold:g} by the modalities that predict them. In the "
            "bars every assay counts once, under the exact set of dots below it; in brackets, all "
            "assays of a modality.",
            f"Who predicts what, above {threshold:g}",
        )
        for threshold in (HIGH, MIDDLE)
    ]
    joined = [f for f in study.fusions if f.late is not None]
    headlines = []
    if joined:
        widest = max(joined, key=lambda fusion: len(fusion.parts))
        best = count_above(study.best([*widest.parts, str(widest.late)])).above[HIGH]
        headlines.append(
            Headline(
                tables.share(best, len(study.assays)),
                f"assays above {HIGH:g} by {study.label(widest)}, singles and late fusion",
            )
        )
    return Chapter(
        "How the modalities complete each other",
        "Single modalities, their fusion, and the assays that only one of them predicts.",
        [Section("Counts", [paragraph], blocks), Section("Overlap", (), figures)],
        headlines,
    )


def _types(folder: Path, study: AssayStudy) -> Chapter:
    names = [*study.singles, *(f.late for f in study.fusions if f.late is not None)][:7]
    figure = Figure(
        draw_types(study, names, MIDDLE, folder / "types"),
        f"Figure 32. Share of the assays of each type above {MIDDLE:g}; on the bars their number, "
        "in brackets the assays of the type. Types of a few assays say little.",
        "By type of assay",
    )
    return Chapter(
        "Which kinds of assays",
        "Counts by type of assay.",
        [Section("Types", (), [figure, tables.types(study, names, MIDDLE)])],
    )


def _tests(folder: Path, study: AssayStudy) -> Chapter:
    pairs = compared(study)
    rest = [name for name in study.auroc if name not in {x for pair in pairs for x in pair}]
    pairs += [(study.singles[0], name) for name in rest if name != study.singles[0]]
    blocks: list[Table | Figure] = [tables.paired(study, pairs)] if pairs else []
    if pairs:
        drawn = pairs[:PAIRS_DRAWN]
        caption = "A dot an assay; blue above the diagonal, where the predictor on the left wins."
        blocks.insert(0, Figure(draw_pairs(study, drawn, folder / "pairs"), caption, "Pairs"))
    return Chapter(
        "Is one predictor better than another?",
        "Paired tests on the same assays.",
        [Section("Pairs", () if pairs else ["There is one predictor only."], blocks)],
    )
