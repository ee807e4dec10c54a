"""The report on readouts that are values or classes: errors and agreement, predictor by predictor.

Tables 1 to 4 of the dissertation count assays above an AUROC and mean nothing here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from cellml.metrics.predictor_tests import compare_predictors
from cellml.report import theme
from cellml.report.activity_figures import COLOURS, PAIRS_IN_A_ROW
from cellml.report.activity_tables import number
from cellml.report.activity_trust import NAMES, trust_chapters
from cellml.report.activity_trust_results import Trust
from cellml.report.html import Chapter, Figure, Headline, Section, Table, write_report
from cellml.report.published import publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAGE = "report.html"
SMALL_IS_GOOD = ("rmse", "mae", "cross_entropy")
LEADING = {"regression": ("rmse", "r2"), "multiclass": ("accuracy", "auroc_macro")}
"""Of each kind: the score by which predictors are compared, and one without a unit."""
EXPLAINED = {
    "rmse": "RMSE, root of the mean squared error, in the assay's units",
    "mae": "MAE, mean absolute error, likewise",
    "r2": "R2, share of the variance around the fold's own mean that is explained (below 0: worse "
    "than that mean)",
    "spearman": "Spearman, rank correlation",
    "accuracy": "accuracy, share whose most probable class is the true one",
    "cross_entropy": "cross-entropy, mean negative logarithm of the true class's probability",
    "auroc_macro": "AUROC, macro: mean over the classes of the AUROC of one against the rest",
}


@dataclass(frozen=True)
class ValueStudy:
    """Predictors of the same assays.

    Attributes:
      kind: A key of `LEADING`.
      assays: Their names.
      scores: By name of the score and predictor, one number an assay, NaN where undefined.
      statistic: What these are over the folds, as "median".
      types: Of each assay; empty if unknown.
    """

    kind: str
    assays: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Float[np.ndarray, " t"]]]
    statistic: str
    types: tuple[str, ...] = ()

    @property
    def predictors(self) -> list[str]:
        """Their names, in order."""
        return list(next(iter(self.scores.values())))

    @property
    def leading(self) -> list[str]:
        """Those of `LEADING` that are there."""
        return [name for name in LEADING[self.kind] if name in self.scores]


def write_value_report(
    folder: Path,
    study: ValueStudy,
    *,
    title: str,
    facts: Mapping[str, str],
    trust: Trust | None = None,
    more: Sequence[Chapter] = (),
) -> Path:
    """Draws all figures as PNG and SVG into a folder and writes the page beside them.

    Args:
      folder: Made if needed.
      study: Scores.
      title: Of the page.
      facts: Name and value of what the scores come from.
      trust: Spread and scores by similarity, where they are known.
      more: Chapters for the end of the page.

    Returns:
      The page; it needs no other file.
    """
    chapters = [_predictors(folder, study)]
    if len(study.assays) > 1:  # of one assay the first table says all
        chapters += [_assays(study), _tests(folder, study)]
    chapters += trust_chapters(folder, trust) if trust is not None else []
    what = "values" if study.kind == "regression" else "classes"
    introduction = (
        f"{_count(len(study.predictors), 'predictor')} of {_count(len(study.assays), 'assay')}, "
        f"whose readouts are {what}, scored on held-out compounds: of each assay the "
        f"{study.statistic} over the folds. A fold in which a score is undefined is left out."
    )
    page = folder / PAGE
    write_report(page, title, introduction, [*chapters, *more], facts)
    return page


def means_table(study: ValueStudy) -> Table:
    """Every score of every predictor: its mean over the assays, the best one stressed."""
    rows, strong = [], set()
    for name in study.predictors:
        rows.append([name, *(number(_mean(by[name])) for by in study.scores.values())])
    for column, (score, by) in enumerate(study.scores.items(), 1):
        sign = -1 if score in SMALL_IS_GOOD else 1
        values = np.array([sign * _mean(by[name]) for name in study.predictors])
        if len(rows) > 1 and np.isfinite(values).any():
            strong.add((int(np.nanargmax(values)), column))
    undefined = {name: int(np.isnan(study.scores[study.leading[0]][name]).sum())
                 for name in study.predictors}  # fmt: skip
    some = ", ".join(f"{name} {n}" for name, n in undefined.items() if n)
    explained = "; ".join(EXPLAINED.get(score, NAMES.get(score, score)) for score in study.scores)
    return Table(
        ["predictor", *(_title(score) for score in study.scores)],
        rows,
        f"Means over {_count(len(study.assays), 'assay')}: {explained}."
        + (f" Assays without a score: {some}." if some else ""),
        frozenset(strong),
    )


def assay_table(study: ValueStudy, score: str) -> Table:
    """A score of every assay, the best predictor of each stressed."""
    by, names = study.scores[score], study.predictors
    sign = -1 if score in SMALL_IS_GOOD else 1
    lead = 1 + bool(study.types)
    rows, strong = [], set()
    for i, assay in enumerate(study.assays):
        values = np.array([by[name][i] for name in names], float)
        rows.append([assay, *([study.types[i]] if study.types else []), *map(number, values)])
        if len(names) > 1 and np.isfinite(values).any():
            strong.add((i, lead + int(np.nanargmax(sign * values))))
    columns = ["assay", *(["type"] if study.types else []), *names]
    better = "smaller" if score in SMALL_IS_GOOD else "larger"
    return Table(columns, rows, f"{_title(score)} of each assay; {better} is better.",
                 frozenset(strong))  # fmt: skip


def paired_table(study: ValueStudy, score: str) -> Table:
    """Predictors against each other on the same assays."""
    by, rows = study.scores[score], []
    for first, second in combinations(study.predictors, 2):
        both = np.isfinite(by[first]) & np.isfinite(by[second])
        if not both.any():
            continue
        test = compare_predictors(by[first], by[second])
        larger, smaller = test.better, test.worse
        errs = score in SMALL_IS_GOOD
        rows.append(
            [f"{second} against {first}", str(test.n_assays), f"{test.difference.mean:+.3f}",
             f"{test.difference.low:+.3f} to {test.difference.high:+.3f}",
             str(smaller if errs else larger), str(larger if errs else smaller),
             f"{test.p_value:.2g}"]
        )  # fmt: skip
    return Table(
        ["pair", "assays", "mean difference", "95 % interval", "better", "worse", "p"],
        rows,
        f"Difference of the {_title(score)} of each assay"
        f"{' (below 0: the first is better)' if score in SMALL_IS_GOOD else ''}: bootstrap over "
        "assays, Wilcoxon's signed-rank test (two-sided, not corrected for the number of pairs). "
        "With fewer than six assays no difference can be told from chance.",
    )


def draw_scores(study: ValueStudy, stem: Path) -> Markup:
    """Draws every score of every predictor: a dot an assay, a tick the mean.

    Args:
      study: Scores.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    names = study.predictors
    places = np.arange(len(names))[::-1]
    away = np.linspace(-0.22, 0.22, len(study.assays)) if len(study.assays) > 1 else np.zeros(1)

    def draw(axes: Sequence["Axes"]) -> None:
        for axis, (score, by) in zip(axes, study.scores.items(), strict=True):
            for y, name, colour in zip(places, names, cycle(COLOURS), strict=False):
                size = 30 if len(study.assays) < 10 else 14
                axis.scatter(by[name], y + away, color=colour, s=size, alpha=0.65, lw=0)
                mean = _mean(by[name])
                if np.isfinite(mean) and len(study.assays) > 1:
                    axis.plot([mean, mean], [y - 0.34, y + 0.34], color=theme.INK, lw=2.2)
            axis.set_title(_title(score) + (" (less is better)" if score in SMALL_IS_GOOD else ""))
            axis.set_ylim(-0.6, len(names) - 0.4)
            axis.grid(axis="y", visible=False)
            axis.margins(x=0.08)
            _few_ticks(axis)
        axes[0].set_yticks(places, names)

    height = 1.3 + 0.42 * max(len(names), 2)
    return publish(draw, stem, label="Scores of every predictor", columns=len(study.scores),
                   size_in=(9.6, height), share_y=True)  # fmt: skip


def draw_assay_pairs(
    study: ValueStudy, score: str, pairs: Sequence[tuple[str, str]], stem: Path
) -> Markup:
    """Draws predictors against each other by a score, a dot an assay.

    Args:
      study: Scores.
      score: Name of one.
      pairs: Up to three.
      stem: See `cellml.report.published.publish`.

    Returns:
      An inline SVG element.
    """
    by = study.scores[score]
    sign = -1 if score in SMALL_IS_GOOD else 1

    def draw(axes: Sequence["Axes"]) -> None:
        for axis in axes[len(pairs) :]:
            axis.set_axis_off()
        for axis, (first, second) in zip(axes, pairs, strict=False):
            x, y = by[first], by[second]
            known = np.concatenate([x, y])[np.isfinite(np.concatenate([x, y]))]
            low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
            edge = 0.06 * (high - low) or 0.1
            limits = (low - edge, high + edge)
            axis.plot(limits, limits, color=theme.INK, lw=0.8, alpha=0.6)
            colours = np.where(sign * (y - x) > 0, theme.BLUE, theme.VERMILLION)
            axis.scatter(x, y, c=colours, s=16, alpha=0.65, lw=0)
            axis.set_xlabel(first)
            axis.set_ylabel(second)
            axis.set_xlim(*limits)
            axis.set_ylim(*limits)
            axis.set_aspect("equal")

    return publish(draw, stem, label=f"{_title(score)} of each assay by two predictors",
                   size_in=(9.6, 3.6), columns=PAIRS_IN_A_ROW)  # fmt: skip


def _predictors(folder: Path, study: ValueStudy) -> Chapter:
    unit = " RMSE and MAE are in the units of each assay: do not compare assays by them." * (
        study.kind == "regression" and len(study.assays) > 1
    )
    several = len(study.assays) > 1
    dots = "A dot an assay, the black line their mean." if several else "The one assay there is."
    figure = Figure(draw_scores(study, folder / "scores"), dots + unit, "Scores")
    headlines = []
    for name in study.predictors[:4]:
        values = [number(_mean(study.scores[score][name])) for score in study.leading]
        titles = " \N{MIDDLE DOT} ".join(_title(score) for score in study.leading)
        headlines.append(Headline(" \N{MIDDLE DOT} ".join(values), f"{name}: {titles}"))
    return Chapter(
        "What each predictor reaches",
        "Scores of held-out compounds, predictor by predictor.",
        [Section("Every predictor by itself", (), [means_table(study), figure])],
        headlines,
    )


def _assays(study: ValueStudy) -> Chapter:
    sections = [Section(_title(score), (), [assay_table(study, score)]) for score in study.leading]
    return Chapter("Assay by assay", "The scores that predictors are compared by.", sections)


def _tests(folder: Path, study: ValueStudy) -> Chapter:
    pairs = list(combinations(study.predictors, 2))
    title, lead = "Is one predictor better than another?", "Paired tests on the same assays."
    if not pairs:
        return Chapter(title, lead, [Section("Pairs", ["There is one predictor only."])])
    score = study.leading[-1]  # without a unit
    drawing = draw_assay_pairs(study, score, pairs[:PAIRS_IN_A_ROW], folder / "pairs")
    caption = f"{_title(score)}, a dot an assay; blue where the predictor on the left wins."
    blocks: list[Table | Figure] = [Figure(drawing, caption, "Pairs")]
    blocks += [paired_table(study, score) for score in study.leading]
    return Chapter(title, lead, [Section("Pairs", (), blocks)])


def _few_ticks(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(nbins=4))


def _title(score: str) -> str:
    name = NAMES.get(score, score)
    return name[0].upper() + name[1:]


def _count(number_of: int, word: str) -> str:
    return f"{number_of} {word}{'' if number_of == 1 else 's'}"


def _mean(values: Float[np.ndarray, " t"]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
