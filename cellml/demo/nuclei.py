"""Chapter: nuclei found by the shipped model, on tissue and on simulated fields with truth."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from cellml.demo.fields import by_group
from cellml.demo.predictions import (
    MEAN,
    METHODS,
    OTSU,
    SINGLE,
    VOTES,
    Prediction,
    predictions,
    segmenter,
    tissue_prediction,
)
from cellml.demo.settings import DemoRun
from cellml.metrics import InstanceScores, summarise
from cellml.report import charts, theme
from cellml.report.html import Chapter, Figure, Headline, Section, Table
from cellml.report.panels import ColourKey, Outlines, Panel, displayed, figure_rows
from cellml.weights.registry import MODELS

METHOD_COLOURS = {
    OTSU: theme.GREY,
    SINGLE: theme.BLUE,
    MEAN: theme.ORANGE,
    VOTES: theme.GREEN,
}
SCALE_BAR_PX = 50
TRUTH_KEY = ColourKey("truth", theme.TRUTH)
PREDICTION_KEY = ColourKey("model", theme.PREDICTION)


def nuclei_chapter(run: DemoRun) -> Chapter:
    """What the model finds, and how right it is where truth is known.

    Args:
      run: The tour.
    Returns:
      The chapter.
    """
    tissue, made = tissue_prediction(run), predictions(run)
    groups = by_group([p.field for p in made])
    scores = {
        group: {method: [made[i].scores[method] for i in rows] for method in METHODS}
        for group, rows in groups.items()
    }
    totals = {
        group: {method: summarise(of) for method, of in by_method.items()}
        for group, by_method in scores.items()
    }
    run.numbers["scores"] = {
        group: {method: total.as_dict() for method, total in by_method.items()}
        for group, by_method in totals.items()
    }
    return Chapter(
        "Finding nuclei",
        "One small network outlines nuclei, in fluorescence and in stained tissue, without being "
        "told which it looks at.",
        [
            _tissue_section(run, tissue),
            _simulated_section(run, made, groups),
            _score_section(scores, totals),
        ],
        [
            Headline(
                f"{by_method[MEAN].ap_dsb2018:.2f}",
                f"mAP, simulated {_inline(group)} ({OTSU}: {by_method[OTSU].ap_dsb2018:.2f})",
            )
            for group, by_method in totals.items()
        ],
    )


def best_shown(made: Sequence[Prediction], rows: Sequence[int], count: int) -> list[int]:
    """The fields to show: the most crowded ones, where separating nuclei is hardest.

    Args:
      made: All predictions.
      rows: Positions to choose from.
      count: How many.
    Returns:
      Positions, most nuclei first.
    """
    crowd = {i: _count(made[i].field.truth) for i in rows}
    return sorted(crowd, key=lambda i: (-crowd[i], i))[:count]


def _inline(group: str) -> str:
    """A group's name inside a sentence."""
    return group[0].lower() + group[1:]


def _tissue_section(run: DemoRun, tissue: Prediction) -> Section:
    found = tissue.labels[MEAN]
    run.numbers["tissue_nuclei"] = int(found.max(initial=0))
    areas = np.bincount(found.ravel())[1:]
    size = f"; their median area is {np.median(areas):.0f} px" if areas.size else ""
    notes = {i: f"nucleus {i}: {area} px" for i, area in enumerate(areas, start=1)}
    shown = tissue.field.shown
    body = figure_rows(
        [
            (
                "",
                [
                    Panel(shown, "Image", scale_bar_px=SCALE_BAR_PX),
                    Panel(displayed(tissue.field.image), "Its blue stain, unmixed"),
                ],
            ),
            (
                "",
                [
                    Panel(
                        shown,
                        f"{len(areas)} nuclei",
                        [Outlines(found, theme.PREDICTION, notes=notes)],
                    ),
                    Panel(theme.label_picture(found), "The label image, one colour per nucleus"),
                ],
            ),
        ],
        [PREDICTION_KEY],
    )
    caption = (
        "Colon glands with a brown antibody stain and nuclei in blue; the picture comes with "
        "scikit-image. Brown and blue overlap in every pixel, so the amount of blue is computed "
        "first and shown to the model, which takes it for fluorescence. It finds "
        f"{len(areas)} nuclei{size}. Point at an outline to read a nucleus’ number and area. "
        "Nobody has annotated this picture, so there is no score: judge by eye, above all where "
        "nuclei crowd in the glands."
    )
    name = str(run.model)
    about = (MODELS[name].summary if name in MODELS else f"Weights from {name}").rstrip(".")
    spec = segmenter(run).spec
    return Section(
        "A real tissue section",
        [
            f"The model is called “{name if name in MODELS else spec.name}”. {about}. It predicts "
            f"{len(spec.heads)} maps ({', '.join(spec.heads)}), from which a watershed cuts single "
            "nuclei."
        ],
        [Figure(body, caption)],
    )


def _simulated_section(
    run: DemoRun, made: Sequence[Prediction], groups: dict[str, list[int]]
) -> Section:
    rows = []
    for group, positions in groups.items():
        for i in best_shown(made, positions, run.size.shown):
            rows.append((f"{group}, {_count(made[i].field.truth)} nuclei", _comparison(made[i])))
    caption = (
        "The most crowded of the simulated fields. Left to right: the image; the outlines that "
        "were simulated; what Otsu’s threshold with a watershed makes of it; what the model makes "
        "of it. AP is the share of nuclei that are found and outlined with an overlap above "
        "one half, misses and false alarms both counting against it."
    )
    keys = [TRUTH_KEY, ColourKey(OTSU, theme.YELLOW), PREDICTION_KEY]
    return Section(
        "Simulated fields, where the truth is known",
        [
            "The simulation draws nuclei that touch, differ in brightness and texture, and are "
            "blurred, unevenly lit and noisy."
            + (" The model has never seen a simulated image." if str(run.model) in MODELS else "")
        ],
        [Figure(figure_rows(rows, keys), caption)],
    )


def _count(labels: Int[np.ndarray, "h w"] | None) -> int:
    """Number of nuclei."""
    return 0 if labels is None else len(np.unique(labels[labels > 0]))


def _comparison(prediction: Prediction) -> list[Panel]:
    field = prediction.field
    shown = field.shown
    assert field.truth is not None  # only fields with truth are compared

    def title(method: str) -> str:
        score = prediction.scores[method]
        return f"{method}: {score.n_pred} found, AP {score.ap[0]:.2f}"

    return [
        Panel(shown, "Image", scale_bar_px=SCALE_BAR_PX),
        Panel(shown, "Truth", [Outlines(field.truth, theme.TRUTH)]),
        Panel(shown, title(OTSU), [Outlines(prediction.labels[OTSU], theme.YELLOW)]),
        Panel(shown, title(MEAN), [Outlines(prediction.labels[MEAN], theme.PREDICTION)]),
    ]


def _score_section(
    scores: dict[str, dict[str, list[InstanceScores]]],
    totals: dict[str, dict[str, InstanceScores]],
) -> Section:
    dots = charts.score_dots(
        {g: {m: [s.ap_dsb2018 for s in of] for m, of in by.items()} for g, by in scores.items()},
        METHOD_COLOURS,
        xlabel="mAP over IoU 0.50 to 0.95",
        label="Score of every image by method",
    )
    curves = charts.lines(
        {
            group: {method: (t.thresholds.tolist(), t.ap.tolist()) for method, t in by.items()}
            for group, by in totals.items()
        },
        METHOD_COLOURS,
        xlabel="overlap asked for (IoU)",
        ylabels=["share found, AP"] * len(totals),
        ylim=dict.fromkeys(totals, (0.0, 1.0)),
        label="Average precision against the overlap that is asked for",
    )
    behind = [g for g, by in totals.items() if by[OTSU].ap_dsb2018 > by[MEAN].ap_dsb2018]
    remark = (
        f"On the simulated fields of {_inline(' and '.join(behind))} the threshold is ahead of the "
        "network: simulated nuclei have an intensity and a colour of their own, which is all that "
        "a threshold asks for, and the network learnt from real images, which look otherwise. The "
        "model card has its scores on real images."
    )
    return Section(
        "How good is it?",
        [remark] if behind else [],
        [
            *(_score_table(group, by) for group, by in totals.items()),
            Figure(
                dots,
                "One dot per image; the bar is the mean. mAP is the score of the 2018 Data Science "
                "Bowl: the share of nuclei found, averaged over ten demands on the overlap.",
                "Every image",
            ),
            Figure(
                curves,
                "From lenient (left, half of a nucleus must overlap) to strict (right). A curve "
                "that starts high and falls late finds the nuclei and also draws their edges well.",
                "How strict may one be?",
            ),
        ],
    )


def _score_table(group: str, totals: dict[str, InstanceScores]) -> Table:
    columns = ("ap_dsb2018", "ap50", "ap75", "pq", "precision", "recall")
    numbers = []
    for total in totals.values():
        by_level = dict(zip(np.round(total.thresholds, 2).tolist(), total.ap, strict=True))
        numbers.append(
            (
                total.ap_dsb2018,
                by_level[0.5],
                by_level[0.75],
                total.pq,
                total.precision[0],
                total.recall[0],
            )
        )
    shown = [[f"{value:.3f}" for value in row] for row in numbers]
    strong = {
        (row, column + 1)
        for column in range(len(columns))
        for row in range(len(shown))
        if shown[row][column] == max(other[column] for other in shown)
    }
    any_total = next(iter(totals.values()))
    return Table(
        [group, "mAP", "AP@0.5", "AP@0.75", "PQ", "Precision@0.5", "Recall@0.5"],
        [[method, *cells] for method, cells in zip(totals, shown, strict=True)],
        f"{any_total.n_images} simulated fields with {any_total.n_true} nuclei; means over images, "
        "rules of the 2018 Data Science Bowl. The best number of a column is stressed. PQ is "
        "panoptic quality.",
        frozenset(strong),
    )
