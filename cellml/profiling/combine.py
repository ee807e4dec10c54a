"""The combined training set of the dissertation: strong treatments of several screens.

A recipe is a list of steps, each of which adds treatments of one screen. Its numbers are those of
the dissertation; any other recipe over any other screens runs the same.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Screen(NamedTuple):
    """What the builder needs to know of a screen, one entry per treatment.

    Attributes:
      treatments: Names, comparable between screens (compounds, genes), each once.
      strength: From `treatment_strength`; NaN is never chosen.
      cells: Number of single cells.
      moa: Mechanism or pathway; "" for unknown.
      kind: "compound" or "gene", decides the class of the controls.
      wild_type: For gene screens, whether the gene is the wild type; None if it does not matter.
    """

    treatments: Sequence[str]
    strength: Sequence[float]
    cells: Sequence[int]
    moa: Sequence[str]
    kind: str
    wild_type: Sequence[bool] | None = None


class Step(NamedTuple):
    """Adds treatments of one screen, the strongest first, that are not chosen yet.

    Attributes:
      screen: Name of the screen.
      n: How many.
      shared_with: Only treatments that this other screen has as well; their cells come from both.
      shared_after: The n strongest are taken first and those that are not shared drop out (the
        dissertation's "500 strongest, intersected"); otherwise n shared ones are taken.
      top_moas: Only treatments of this many most populated mechanisms of the screen.
      wild_type: Only wild-type genes.
    """

    screen: str
    n: int
    shared_with: str | None = None
    shared_after: bool = False
    top_moas: int | None = None
    wild_type: bool = False


DISSERTATION_RECIPE = (
    Step("BBBC022", 500, shared_with="BBBC036", shared_after=True),
    Step("BBBC022", 50),
    Step("BBBC036", 62),
    Step("LINCS", 7, top_moas=20),
    Step("BBBC043", 28, shared_with="BBBC037", wild_type=True),
    Step("BBBC037", 29),
    Step("BBBC043", 32),
)
"""The steps of the dissertation, which ends with 488 treatments of five screens."""


class CombinedSet(NamedTuple):
    """Classes of the combined set.

    Attributes:
      treatments: Names, in the order they were chosen.
      sources: Screens that each takes its cells from.
      step: Index of the step that chose it.
      cells: Cells over its sources.
      control_classes: Kinds of screens with cells in the set; each is one class of controls.
      dropped: Treatments that were chosen but have too few cells, with their cells.
    """

    treatments: tuple[str, ...]
    sources: tuple[tuple[str, ...], ...]
    step: tuple[int, ...]
    cells: tuple[int, ...]
    control_classes: tuple[str, ...]
    dropped: dict[str, int]


def combine_screens(
    screens: Mapping[str, Screen],
    recipe: Sequence[Step] = DISSERTATION_RECIPE,
    *,
    min_cells: int = 100,
) -> CombinedSet:
    """Chooses the classes of a combined training set.

    Args:
      screens: By name.
      recipe: Steps, in order. A step that finds fewer treatments than it wants takes them all.
      min_cells: Classes with fewer cells are dropped at the end.

    Returns:
      Classes without the controls, and the classes of controls to add.

    Raises:
      ValueError: A step names an unknown screen, or the entries of a screen do not fit.
    """
    for name, screen in screens.items():
        _check_screen(name, screen)
    chosen: dict[str, tuple[int, tuple[str, ...]]] = {}
    for index, step in enumerate(recipe):
        for name in (step.screen, step.shared_with):
            if name is not None and name not in screens:
                raise ValueError(f"step {index} names {name!r}, found {sorted(screens)}")
        sources = (step.screen,) if step.shared_with is None else (step.screen, step.shared_with)
        for treatment in _picked(screens, step, taken=set(chosen)):
            chosen[treatment] = (index, sources)
    cells = {t: sum(_cells_of(screens[s], t) for s in chosen[t][1]) for t in chosen}
    kept = [t for t in chosen if cells[t] >= min_cells]
    kinds = {screens[s].kind: None for t in kept for s in chosen[t][1]}
    return CombinedSet(
        treatments=tuple(kept),
        sources=tuple(chosen[t][1] for t in kept),
        step=tuple(chosen[t][0] for t in kept),
        cells=tuple(cells[t] for t in kept),
        control_classes=tuple(kinds),
        dropped={t: cells[t] for t in chosen if cells[t] < min_cells},
    )


def _picked(screens: Mapping[str, Screen], step: Step, *, taken: set[str]) -> list[str]:
    screen = screens[step.screen]
    order = np.argsort(-np.asarray(screen.strength, np.float64), kind="stable")  # NaN goes last
    usable = [
        str(screen.treatments[i])
        for i in order.tolist()
        if not np.isnan(screen.strength[i]) and _fits(screen, i, step)
    ]
    usable = [treatment for treatment in usable if treatment not in taken]
    if step.shared_with is None:
        return usable[: step.n]
    other = set(screens[step.shared_with].treatments)
    if step.shared_after:
        return [treatment for treatment in usable[: step.n] if treatment in other]
    return [treatment for treatment in usable if treatment in other][: step.n]


def _fits(screen: Screen, i: int, step: Step) -> bool:
    if step.wild_type and not (screen.wild_type is not None and screen.wild_type[i]):
        return False
    return step.top_moas is None or screen.moa[i] in _populated_moas(screen, step.top_moas)


def _populated_moas(screen: Screen, n: int) -> set[str]:
    names, count = np.unique([m for m in screen.moa if m], return_counts=True)
    return {str(names[i]) for i in np.argsort(-count, kind="stable")[:n]}


def _cells_of(screen: Screen, treatment: str) -> int:
    names = list(screen.treatments)
    return int(screen.cells[names.index(treatment)]) if treatment in names else 0


def _check_screen(name: str, screen: Screen) -> None:
    n = len(screen.treatments)
    columns = {"strength": screen.strength, "cells": screen.cells, "moa": screen.moa}
    if screen.wild_type is not None:
        columns["wild_type"] = screen.wild_type
    for column, values in columns.items():
        if len(values) != n:
            raise ValueError(f"screen {name}: {column} has {len(values)} entries, expected {n}")
    if len(set(screen.treatments)) != n:
        raise ValueError(f"screen {name}: a treatment is listed twice")
    if screen.kind not in ("compound", "gene"):
        raise ValueError(f"screen {name}: kind must be compound or gene, found {screen.kind!r}")
