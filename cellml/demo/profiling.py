"""Chapter: a small simulated Cell Painting screen, from images to mechanisms."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from rich.console import Console

from cellml.commands import profile_aggregate, profile_embed, profile_export
from cellml.commands.profile_evaluate import EvaluateOptions
from cellml.commands.profile_report import read_truth
from cellml.commands.profile_report_scores import score_experiment
from cellml.data.cell_store import CellStore, open_store
from cellml.data.crops import Status
from cellml.data.profile_tables import read_profiles
from cellml.data.screen_simulation import CHANNELS, CONTROL, ScreenDesign, list_treatments
from cellml.data.screen_simulation_project import write_project
from cellml.demo.settings import DemoRun
from cellml.report.html import Chapter, Figure, Headline, Section
from cellml.report.panels import Panel, figure_rows
from cellml.report.profiling_figures import draw_strength
from cellml.report.profiling_maps import draw_maps
from cellml.report.profiling_results import ExperimentResult
from cellml.report.profiling_tables import summary

FEATURES = "classical"
COLOURS = {"AGP": (1.0, 0.35, 0.0), "ER": (0.0, 0.9, 0.2), "DNA": (0.15, 0.3, 1.0)}
"""How three of the five stains are shown together."""
LAMBDAS = (None, 1.0, 1e-1, 1e-2, 1e-3)
SCALE_BAR_PX = 20


def profiling_chapter(run: DemoRun) -> Chapter:
    """A screen is simulated, its cells are cut out and measured, its wells are compared.

    Args:
      run: The tour.
    Returns:
      The chapter.
    """
    folder = run.out / "screen"
    design = ScreenDesign(**dict(run.size.screen))
    store = _make_profiles(folder, design)
    result = _score(folder)
    # The default needs a sphering; in a tiny screen there may be none.
    raw, after = result.raw.strict.map, (result.sphered or result.raw).strict.map
    run.numbers["profiling"] = {
        "cells": len(store),
        "wells": result.n_wells,
        "map_raw": raw,
        "map_sphered": after,
        "map_by_chance": result.chance_map,
    }
    return Chapter(
        "From single cells to mechanisms: a Cell Painting screen",
        f"{len(store):,} cells of {result.n_wells} wells on {design.n_plates} plates, simulated: "
        "treatments that share a mechanism should look alike, whatever plate they were on.",
        [_cells_section(store, design), _map_section(run, result), _strength_section(run, result)],
        [
            Headline(f"{after:.2f}", f"mAP of finding treatments of one mechanism, after sphering "
                     f"({raw:.2f} before, {result.chance_map:.2f} by chance)")
        ],
    )  # fmt: skip


def _make_profiles(folder: Path, design: ScreenDesign) -> CellStore:
    """Runs the commands that a person would run on a project of their own."""
    quiet = Console(quiet=True)
    write_project(folder, design, box_size=round(1.6 * design.cell_diameter_px))
    profile_export.run(profile_export.ExportOptions(folder, masks="keep"), quiet)
    profile_embed.run(profile_embed.EmbedOptions(folder, FEATURES, model=FEATURES), quiet)
    options = profile_aggregate.AggregateOptions(
        folder, experiment=FEATURES, normalize="standardize", status=("ok", "edge")
    )
    profile_aggregate.run(options, quiet)
    return open_store(folder / "outputs" / profile_export.STORE)


def _score(folder: Path) -> ExperimentResult:
    wells = folder / "outputs" / FEATURES / "profiles" / "well.parquet"
    options = EvaluateOptions(
        [str(wells)],
        control=f"Metadata_treatment == '{CONTROL}'",
        sphere="zca",
        batch_column="Metadata_batch",
    )
    return score_experiment(
        FEATURES,
        read_profiles([wells], features_regex=None),
        options,
        lambdas=LAMBDAS,
        truth=read_truth(folder / "inputs" / "metadata" / "truth.csv"),
        training=None,
        umap=False,
        seed=0,
    )


def _cells_section(store: CellStore, design: ScreenDesign) -> Section:
    index = store.read_index(["treatment", "status"])
    treatment = np.array(index["treatment"].to_pylist())
    whole = index["status"].to_numpy() == Status.OK
    strongest: dict[str, str] = {"none": CONTROL}
    for entry in sorted(list_treatments(design), key=lambda t: -t.strength):
        strongest.setdefault(entry.mechanism, entry.name)
    panels = []
    for mechanism, name in strongest.items():
        mine = treatment == name
        rows = np.flatnonzero(mine & whole if (mine & whole).any() else mine)
        if len(rows):
            cell = store.read(rows[len(rows) // 2 :][:1])[0]
            title = "untreated" if name == CONTROL else mechanism.replace("_", " ")
            panels.append(Panel(_coloured(cell), title, (), SCALE_BAR_PX))
    return Section(
        "The cells",
        [
            "Each field is rendered with five stains, uneven illumination and staining that "
            "differs from batch to batch. The cells are cut out into a store and measured: "
            "hundreds of features of shape, intensity, texture and correlation a cell.",
        ],
        [
            Figure(
                figure_rows([("", panels)], []),
                "One cell of the strongest treatment of each mechanism. Orange: actin, Golgi and "
                "plasma membrane; green: endoplasmic reticulum; blue: DNA. Every stain is "
                "stretched on its own, as the features of networks see it.",
            )
        ],
    )


def _coloured(cell: Shaped[np.ndarray, "s s c"]) -> UInt8[np.ndarray, "s s 3"]:
    shown = np.zeros((*cell.shape[:2], 3), np.float32)
    for stain, colour in COLOURS.items():
        plane = cell[..., CHANNELS.index(stain)].astype(np.float32)
        low, high = np.percentile(plane, (2, 99.8))
        scaled = np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1)
        shown += scaled[..., None] * np.array(colour, np.float32)
    return np.round(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def _map_section(run: DemoRun, result: ExperimentResult) -> Section:
    stem = run.out / "screen" / "pca"
    label = "PCA of the wells before and after sphering"
    return Section(
        "The wells",
        [
            "A well's profile is the mean over its fields of the median cell, in units of the "
            "plate's controls. Sphering by the controls takes the weight from whatever varies "
            "among untreated wells.",
        ],
        [
            Figure(
                draw_maps(result.maps, "PCA", stem, label=label),
                "One dot a well, by batch and by mechanism, before and after sphering. Good "
                "profiles mix the batches and part the mechanisms.",
            ),
            summary([result]),
        ],
    )


def _strength_section(run: DemoRun, result: ExperimentResult) -> Section:
    blocks = []
    if result.strengths:
        stem = run.out / "screen" / "strength"
        picture = draw_strength(result.strengths[0], stem, label="Strength of the treatments")
        blocks.append(
            Figure(
                picture,
                "Left: measured, the strongest first. Right: against the strength that the "
                "simulation gave it.",
            )
        )
    return Section(
        "How strong the treatments are",
        [
            "The distance of a treatment's wells from the controls of their plates, in units of "
            "the controls' own spread. In a simulated screen the truth is known."
        ],
        blocks,
    )
