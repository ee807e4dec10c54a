"""Chapter: test-time augmentation, what it changes and where the model is unsure."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from cellml.demo.fields import by_group
from cellml.demo.nuclei import (
    PREDICTION_KEY,
    SCALE_BAR_PX,
    TRUTH_KEY,
    best_shown,
)
from cellml.demo.predictions import (
    MEAN,
    SINGLE,
    Prediction,
    predictions,
    tissue_prediction,
    votes_and_hits,
)
from cellml.demo.settings import DemoRun
from cellml.metrics import paired_bootstrap
from cellml.report import charts, theme
from cellml.report.html import Chapter, Figure, Headline, Section
from cellml.report.panels import ColourKey, Outlines, Panel, figure_rows
from cellml.tta import entropy

SPREAD_MAX = 0.3
"""Standard deviation shown in the last colour; 0.5 is the largest there is, and rare."""
SPREAD_BINS = (0.0, 0.01, 0.03, 0.1, 0.2, 0.5)
ZOOM_PX = 192


def augmentation_chapter(run: DemoRun) -> Chapter:
    """What eight looks at one image say beyond a single one.

    Args:
      run: The tour.
    Returns:
      The chapter.
    """
    made = predictions(run)
    groups = by_group([p.field for p in made])
    changes = {
        group: [made[i].scores[MEAN].ap_dsb2018 - made[i].scores[SINGLE].ap_dsb2018 for i in rows]
        for group, rows in groups.items()
    }
    pixels, votes = _pixel_errors(made), _vote_hits(made)
    run.numbers["tta_change"] = changes
    run.numbers["pixel_errors"] = pixels
    run.numbers["votes"] = votes
    every = [change for values in changes.values() for change in values]
    return Chapter(
        "Looking eight times: test-time augmentation",
        "The image is turned and mirrored in all eight ways, predicted, turned back and averaged. "
        "Where the eight answers differ, the model is guessing.",
        [_maps_section(run, made, groups), _trust_section(pixels, votes), _change_section(changes)],
        [Headline(f"{np.mean(every):+.3f}", f"change of mAP by TTA, mean of {len(every)} images")],
    )


def _maps_section(
    run: DemoRun, made: Sequence[Prediction], groups: Mapping[str, list[int]]
) -> Section:
    rows = [
        (f"{group}, simulated", _maps(made[best_shown(made, positions, 1)[0]]))
        for group, positions in groups.items()
    ]
    tissue = tissue_prediction(run)
    rows.append((f"{tissue.field.group}, part of the section above", _maps(tissue)))
    copies = len(made[0].foreground)
    keys = [
        TRUTH_KEY,
        PREDICTION_KEY,
        ColourKey("probability", colour_map=theme.PROBABILITY_MAP, low="0", high="1"),
        ColourKey(
            "spread", colour_map=theme.UNCERTAINTY_MAP, low="0", high=f"{SPREAD_MAX} and more"
        ),
        ColourKey(
            "votes",
            colour_map=theme.VOTE_MAP,
            low=f"{copies // 2 + 1} of {copies}",
            high=f"{copies} of {copies}",
        ),
    ]
    caption = (
        "Left to right: outlines of the averaged answer over the truth where it is known; the mean "
        "probability that a pixel belongs to a nucleus; the spread (standard deviation) of the "
        f"{copies} probabilities; and the nuclei that more than half of the {copies} answers agree "
        "on, coloured by how many did. Bright rims in the spread are normal, edges are fuzzy; a "
        "bright spot inside or between nuclei is where to look before trusting a count. Point at "
        "a nucleus in the last picture to read its votes."
    )
    return Section(
        "Where is the model unsure?",
        ["An image has no preferred orientation under the microscope, so all answers count alike."],
        [Figure(figure_rows(rows, keys), caption)],
    )


def _maps(prediction: Prediction) -> list[Panel]:
    window = _busiest_window(prediction)
    shown = prediction.field.shown[window]
    truth = prediction.field.truth
    outlines = [Outlines(prediction.labels[MEAN][window], theme.PREDICTION)]
    if truth is not None:
        outlines.insert(0, Outlines(truth[window], theme.TRUTH))
    copies = len(prediction.foreground)
    shares = np.asarray(prediction.merge.vote_share)
    iou = np.asarray(prediction.merge.mean_iou)
    votes = {i: round(float(shares[i]) * copies) for i in range(1, len(shares))}
    least = copies // 2 + 1
    fills = {
        i: theme.hex_colour(theme.VOTE_MAP, (n - least) / max(copies - least, 1))
        for i, n in votes.items()
    }
    notes = {i: f"{n} of {copies} votes, mean IoU {iou[i]:.2f}" for i, n in votes.items()}
    spread, probability = prediction.spread[window], prediction.probability[window]
    doubt = float(np.mean(np.asarray(entropy(probability))))
    merged = np.asarray(prediction.merge.labels)[window]
    return [
        Panel(shown, "Outlines", outlines, scale_bar_px=SCALE_BAR_PX),
        Panel(
            theme.paint(probability, theme.PROBABILITY_MAP),
            f"Probability; mean entropy {doubt:.2f} bit a pixel",
        ),
        Panel(
            theme.paint(spread, theme.UNCERTAINTY_MAP, high=SPREAD_MAX),
            f"Spread; largest {spread.max():.2f}",
        ),
        Panel(shown, "Votes", [Outlines(merged, "#ffffff", fills=fills, notes=notes)]),
    ]


def _busiest_window(prediction: Prediction) -> tuple[slice, slice]:
    """The square of `ZOOM_PX` (on a coarse grid) with most spread; all of a small image."""
    height, width = prediction.spread.shape
    if max(height, width) <= 1.5 * ZOOM_PX:
        return slice(0, height), slice(0, width)
    corners = [
        (y, x)
        for y in range(0, height - ZOOM_PX + 1, ZOOM_PX // 3)
        for x in range(0, width - ZOOM_PX + 1, ZOOM_PX // 3)
    ]
    sums = [prediction.spread[y : y + ZOOM_PX, x : x + ZOOM_PX].sum() for y, x in corners]
    y, x = corners[int(np.argmax(sums))]
    return slice(y, y + ZOOM_PX), slice(x, x + ZOOM_PX)


def _pixel_errors(made: Sequence[Prediction]) -> list[tuple[str, float, int]]:
    """Share of wrong pixels by spread: name of the bin, share, number of pixels."""
    spread = np.concatenate([p.spread.ravel() for p in made])
    wrong = np.concatenate(
        [
            ((p.probability > 0.5) != (p.field.truth > 0)).ravel()
            for p in made
            if p.field.truth is not None
        ]
    )
    bins = np.digitize(spread, SPREAD_BINS[1:-1])
    edges = [f"{low:g}–{high:g}" for low, high in itertools.pairwise(SPREAD_BINS)]
    return [
        (name, float(wrong[bins == i].mean()), int((bins == i).sum()))
        for i, name in enumerate(edges)
        if (bins == i).any()
    ]


def _vote_hits(made: Sequence[Prediction]) -> list[tuple[str, float, int]]:
    """Share of right nuclei by votes: number of votes, share, number of nuclei."""
    cases = [case for p in made for case in votes_and_hits(p)]
    return [
        (str(n), float(np.mean([hit for votes, hit in cases if votes == n])), count)
        for n in sorted({votes for votes, _ in cases})
        if (count := sum(votes == n for votes, _ in cases))
    ]


def _trust_section(
    pixels: Sequence[tuple[str, float, int]], votes: Sequence[tuple[str, float, int]]
) -> Section:
    panels = [
        ("Pixels", "spread of the eight probabilities", "wrong pixels, %", pixels),
        ("Nuclei", "votes out of eight", "right nuclei (IoU > 0.5), %", votes),
    ]
    body = charts.shares(
        [panel for panel in panels if panel[3]], label="Errors by spread, and right nuclei by votes"
    )
    caption = (
        "All simulated fields together. Left: the share of wrong pixels has to grow with the "
        "spread, or the spread would tell nothing. Right: likewise, nuclei on which all eight "
        "answers agree should be right most often. n counts the pixels or nuclei of a bar."
    )
    return Section("May one trust it?", [], [Figure(body, caption)])


def _change_section(changes: Mapping[str, Sequence[float]]) -> Section:
    sentences = []
    for group, values in changes.items():
        interval = paired_bootstrap(0, values)
        up, down = sum(v > 0 for v in values), sum(v < 0 for v in values)
        sentences.append(
            f"{group}: {interval.mean:+.3f} on average (95 % interval {interval.low:+.3f} "
            f"to {interval.high:+.3f}); better in {up} and worse in {down} of {len(values)} images."
        )
    body = charts.deltas(
        changes, ylabel="mAP with TTA minus without", label="Change of each image's score by TTA"
    )
    caption = (
        " ".join(sentences)
        + " A gain on average may still harm single images, so a study needs the "
        "score of every image and not the mean alone. The command cellml tta-study does this for "
        "your own model and images."
    )
    return Section("What does it change?", [], [Figure(body, caption)])
