"""`cellml profile run`: a project's images to a report on its features, in one command.

Every stage is a command of its own and finds out by itself what is done already, so that an
interrupted run goes on where it stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cellml.commands import (
    profile_aggregate,
    profile_embed,
    profile_export,
    profile_init,
    profile_prepare,
    profile_report,
    profile_train,
)
from cellml.commands.long_work import count, say
from cellml.commands.profile_nuclei import NucleiOptions
from cellml.data.painting_project import METADATA, open_project
from cellml.data.writers import write_json
from cellml.errors import UsageError

DESIGN = ("n_plates=6", "n_batches=3", "n_sites=4", "shape=320x320", "n_cells=22", "effect=0.7",
          "batch_effect=2")  # fmt: skip
"""The screen of --simulated: small enough for two cores, hard enough to leave room at the top, with
wells and batches so different that a network recognises them, as it does in real screens."""

GROW_PX = 12
"""Of --simulated, whose cells are found as real ones are: the nucleus and so much around it."""

RANDOM_PX = 112
"""Side at which cells enter a network of random weights, which has no resolution of its own."""


@dataclass(frozen=True)
class RunOptions:
    """What the user asked for; see `cellml profile run --help`.

    Attributes:
      project: Folder of the project.
      simulated: Make the project first: a screen of which the truth is known.
      design: Changes of the simulated screen, as of `cellml profile init --design`.
      features: Sets of features to compare: of `classical`, `random`, `imagenet`, `cells` (the
        network that ships), `wsl` (plates left out) and `wsl-cells-out`.
      weights: ImageNet weights: `wsl` starts from them, `imagenet` uses them (or downloads Keras').
      preset: Of the training; None for `dissertation` with weights and `small` without.
      steps: Length of each training without weights; None for the preset's.
      prepare: Whether to correct the illumination.
      normalize: As of `cellml profile aggregate`.
      normalize_by: Likewise; plates of few controls are normalised together.
      workers: Processes, where a stage can use several.
      umap: Whether the report has UMAPs.
    """

    project: Path
    simulated: bool = False
    design: Sequence[str] = ()
    features: Sequence[str] = ("classical", "random", "cells", "wsl", "wsl-cells-out")
    weights: Path | None = None
    preset: str | None = None
    steps: int | None = None
    prepare: bool = True
    normalize: str = "standardize"
    normalize_by: str = "all"
    workers: int = 1
    umap: bool = True


Stage = tuple[str, Callable[[], int]]


def run(options: RunOptions, console: Console) -> int:
    """Runs all stages.

    Args:
      options: See `RunOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or that of the first stage that did not end well.

    Raises:
      UserError: As of the stages.
      UsageError: Unknown features, or options that do not fit.
    """
    known = ("classical", "random", "imagenet", "cells", "wsl", "wsl-cells-out")
    if unknown := [name for name in options.features if name not in known]:
        raise UsageError(f"--features: unknown {unknown[0]!r}; known: {', '.join(known)}")
    stages = _stages(options, console)
    seconds: dict[str, float] = {}
    for number, (name, work) in enumerate(stages, 1):
        say(console, f"[{number}/{len(stages)}] {name}")
        began_s = time.perf_counter()
        code = work()
        seconds[name] = round(time.perf_counter() - began_s, 1)
        if code:
            return code
    write_json(options.project / "outputs" / "report" / "seconds.json", seconds)
    say(
        console,
        f"{count(len(options.features), 'set')} of features compared in "
        f"{sum(seconds.values()) / 60:.1f} min: {options.project / 'outputs/report/report.html'}",
    )
    return 0


def _stages(options: RunOptions, console: Console) -> list[Stage]:
    project = options.project
    stages: list[Stage] = []
    if options.simulated:
        stages.append(("render a screen, find its cells", lambda: _simulate(options, console)))
    if options.prepare:
        prepare = profile_prepare.PrepareOptions(project, options.workers)
        stages.append(("correct the illumination", lambda: profile_prepare.run(prepare, console)))
    stages.append(("cut single cells", lambda: _export(options, console)))
    for name in options.features:
        stages += _feature_stages(name, options, console)
    report = profile_report.ReportOptions(
        project=project, experiments=tuple(options.features), umap=options.umap
    )

    def write_report() -> int:
        profile_report.run(report, console)
        return 0

    return [*stages, ("report", write_report)]


def _simulate(options: RunOptions, console: Console) -> int:
    """Renders and segments, as a project of real images would begin; goes on with what is there."""
    init = profile_init.InitOptions(
        project=options.project,
        simulated=True,
        design=[*DESIGN, *options.design],
        nuclei=NucleiOptions(grow_px=GROW_PX),
        workers=options.workers,
    )
    return profile_init.run(init, console)


def _export(options: RunOptions, console: Console) -> int:
    """Keeps the outlines beside the cells, where there are some, for the classical features."""
    mode = open_project(options.project).settings("export")["dataset.locations.mode"]
    outlines = mode == "single_cells" and (options.project / METADATA / "outlines.csv").exists()
    export = profile_export.ExportOptions(
        options.project,
        masks="keep" if outlines else None,
        images="auto" if options.prepare else "original",
        workers=options.workers,
    )
    return profile_export.run(export, console)


def _feature_stages(name: str, options: RunOptions, console: Console) -> list[Stage]:
    stages: list[Stage] = []
    trained = name.startswith("wsl")
    if trained:
        train = profile_train.TrainOptions(
            options.project,
            experiment=name,
            preset=options.preset or ("dissertation" if options.weights else "small"),
            split="leave_cells_out" if name == "wsl-cells-out" else None,
            init_weights=options.weights,
            steps=None if options.weights else options.steps,
        )
        stages.append((f"{name}: train", lambda: profile_train.run(train, console)))
    embed = profile_embed.EmbedOptions(
        options.project,
        experiment=name,
        model=None if trained else name,
        weights=options.weights if name == "imagenet" else None,
        input_px=RANDOM_PX if name == "random" else None,
        workers=options.workers,
    )
    aggregate = profile_aggregate.AggregateOptions(
        options.project,
        experiment=name,
        normalize=options.normalize,
        normalize_by=options.normalize_by,
        status=("ok", "edge"),
        workers=options.workers,
    )
    return [
        *stages,
        (f"{name}: features", lambda: profile_embed.run(embed, console)),
        (f"{name}: profiles", lambda: profile_aggregate.run(aggregate, console)),
    ]
