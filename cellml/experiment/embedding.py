"""Weakly supervised training of a cell embedder: a config with `task = "embedding"`."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from cellml.data import cell_splits
from cellml.data.cell_batching import (
    balanced_rows,
    epoch_length,
    evaluation_batches,
    image_channels,
    training_batches,
)
from cellml.data.cell_export import export_settings, write_store
from cellml.data.cell_splits import Cells, CellSplit
from cellml.data.cell_store import CellStore, open_store
from cellml.data.coded_columns import code_column
from cellml.data.crops import Status
from cellml.data.painting_project import INDEX_KEYS, KEYS, open_project
from cellml.data.screen_simulation import ScreenDesign
from cellml.data.screen_simulation_project import write_project
from cellml.data.text_tables import suggestion
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.experiment.steps import epoch_steps, scheduled_by_epoch, step_counts
from cellml.ops.crop_augmentation import AugmentationSettings
from cellml.tasks.embedders import keep_start, save_embedder, starting_variables
from cellml.tasks.embedding import Embedder, EmbedderSpec, make_task
from cellml.train.loop import fit
from cellml.train.optim import make_optimizer, make_schedule
from cellml.train.state import TrainState, eval_variables
from cellml.types import Batch
from cellml.weights.efficientnet import detect_layout
from cellml.weights.efficientnet_layouts import module_options

TREATMENT = "treatment"
SCHEMES = (*cell_splits.SCHEMES, "column")


def train_embedding(config: ConfigDict, workdir: Path) -> TrainState:
    """Trains an embedder; each checkpoint is exported to `workdir/embedders/step_N.safetensors`.

    Beside the run it writes split.json: what trains, what validates, and what they have in common.

    Raises:
      UsageError: The store or the split does not fit the config.
    """
    store = _store(config, workdir)
    cells, usable = read_cells(
        store, edges=config.data.edges, label_column=config.data.get("label_column", TREATMENT)
    )
    split = make_split(config.data.split, cells, store=store, rows=usable)
    classes, spec = _classes(config, store, cells, split)
    rows = usable[split.train]
    train_classes, validation_classes = classes[split.train], classes[split.validation]
    _write_split(workdir, config, store, cells, split)
    batches = training_batches(
        store,
        rows,
        train_classes,
        batch_size=config.train.batch_size,
        seed=config.seed,
        masked=spec.masked,
    )
    rng = np.random.default_rng((config.seed, 1))
    most = config.eval.cells_max
    shown = [
        (usable[split.validation], validation_classes, balanced_rows(validation_classes, rng)),
        (rows, train_classes, balanced_rows(train_classes, rng)),
    ]

    def evaluate() -> Iterator[Batch]:
        for validates, (all_rows, all_classes, chosen) in zip((True, False), shown, strict=True):
            part = np.sort(chosen[:most])
            for batch in evaluation_batches(
                store,
                all_rows[part],
                all_classes[part],
                batch_size=config.eval.batch_size,
                masked=spec.masked,
            ):
                mark = np.full(len(batch["valid"]), validates)
                yield {**batch, "validates": mark}

    start = None
    if config.get("init_weights", None):
        start = starting_variables(spec, config.init_weights, jax.random.key(config.seed))
    kept = jax.tree.map(np.asarray, start)  # training takes the arrays of `start`
    share = config.get("start_share", 0.0)
    if not 0 <= share <= (1 if start else 0):
        raise UsageError(
            f"config.start_share: found {share}, expected 0 to 1, and 0 without init_weights"
        )

    def export(state: TrainState) -> None:
        step = int(state.step)
        variables = jax.tree.map(np.asarray, eval_variables(state))
        if share:
            variables = keep_start(variables, kept, share)
        save_embedder(
            workdir / "embedders" / f"step_{step:06d}.safetensors",
            Embedder(spec, variables),
            card={"step": step, "config": config.to_dict()},
        )

    length = epoch_length(train_classes)
    optimizer = scheduled_by_epoch(
        config.optimizer, steps_per_epoch=epoch_steps(config.train, n_examples=length)
    )
    return fit(
        make_task(
            spec,
            augmentation=AugmentationSettings(**config.augmentation),
            label_smoothing=config.loss.label_smoothing,
            classifier_scale=config.model.classifier_scale,
        ),
        make_optimizer(optimizer),
        batches,
        init_batch=next(batches(0)),
        evaluate=evaluate,
        workdir=workdir,
        seed=config.seed,
        config=_with_cells(config, store),
        may_differ=("data.store",),
        learning_rate=make_schedule(optimizer),
        on_checkpoint=export,
        best=("f1", "max"),
        variables=start,
        log_every=config.train.log_every,
        ema_decay=config.train.ema_decay,
        **step_counts(config.train, n_examples=length),
    )


def _with_cells(config: ConfigDict, store: CellStore) -> dict[str, Any]:
    """The config with what the store holds: a run does not go on with other cells unnoticed."""
    versions = [store.version(plate) for plate in store.plates]
    made_of = json.dumps([store.settings, versions], sort_keys=True)
    digest = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    plain = config.to_dict()
    plain["data"]["cells"] = f"{len(store)} cells, version {digest}"
    return plain


def read_cells(
    store: CellStore, *, edges: bool = False, label_column: str = TREATMENT
) -> tuple[Cells, Int[np.ndarray, " n"]]:
    """The cells of a store that can train: wholly inside the image, of a known treatment.

    Some thirty bytes a cell: texts are coded (`Coded`), whatever the number of cells.

    Args:
      store: All cells.
      edges: Whether cells that the image cuts off do, too.
      label_column: What stands for the treatment, see `store_column`.
    Returns:
      Their facts, and their rows in the store.
    Raises:
      UsageError: There is no such cell or no such column.
    """
    label = store_column(store, label_column)
    names = dict.fromkeys(["plate", "well", "site", label, "y_px", "x_px", "status"])
    index = store.read_index(list(names))
    status = index["status"].to_numpy()
    labels = code_column(index[label])
    whole = (status == Status.OK) | (edges & (status == Status.EDGE))
    usable = np.flatnonzero(whole & (labels.codes >= 0))
    if not len(usable):
        raise UsageError(
            f"{store.folder}: no cell to train on among {len(store)}: it must lie within the image "
            f"and have a {label}"
        )
    plate, well, site = (
        code_column(index[name]).take(usable) for name in ("plate", "well", "site")
    )
    centres = np.stack([index["y_px"].to_numpy(), index["x_px"].to_numpy()], axis=1)[usable]
    return Cells(plate, well, site, labels.take(usable), centres), usable


def store_column(store: CellStore, name: str) -> str:
    """The column of a store's index that index.csv calls `name`.

    Args:
      store: The cells.
      name: Metadata_Plate, _Well, _Site, or as the store has it.
    Returns:
      Name of a column.
    Raises:
      UsageError: There is none; the message lists those there are.
    """
    known = store.columns
    ours = KEYS[INDEX_KEYS.index(name)] if name in INDEX_KEYS else name
    if ours not in known:
        raise UsageError(
            f"{store.folder}: no column {name!r}{suggestion(name, known)}; export the cells again "
            "if the index has it now"
        )
    return ours


def make_split(
    config: ConfigDict, cells: Cells, *, store: CellStore, rows: Int[np.ndarray, " n"]
) -> CellSplit:
    """The split that a config's `data.split` describes.

    Args:
      config: `scheme`, one of `SCHEMES`; `plates` (leave_plates_out; empty for the last one),
        `treatments` (leave_treatments_out), `fraction` and `seed` of the cells; `column` of the
        store's metadata with the values for `training` and `validation`.
      cells: The cells.
      store: Has the metadata.
      rows: Rows of the cells in the store.
    Returns:
      The split.
    Raises:
      UsageError: Unknown scheme, or as of the functions of `cell_splits`.
    """
    scheme, options = config.scheme, {"fraction": config.fraction, "seed": config.seed}
    plates, treatments = list(config.plates), list(config.treatments)
    column, sides = config.column, [[str(v) for v in config[s]] for s in ("training", "validation")]
    if scheme == "leave_plates_out":
        return cell_splits.leave_plates_out(cells, plates or [cells.plate.occurring()[-1]])
    if scheme == "leave_cells_out":
        return cell_splits.leave_cells_out(cells, **options)
    if scheme == "leave_treatments_out":
        return cell_splits.leave_treatments_out(cells, treatments, **options)
    if scheme == "column":
        name = store_column(store, column)
        values = code_column(store.read_index([name])[name]).take(rows)
        return cell_splits.by_column(values, *sides)
    raise UsageError(f"data.split.scheme: unknown {scheme!r}; known: {', '.join(SCHEMES)}")


def _store(config: ConfigDict, workdir: Path) -> CellStore:
    """The config's store, or one that is simulated below `workdir`."""
    given, design = config.data.store, config.data.simulate
    if given:
        return open_store(given)
    root = workdir / "screen"
    if not (root / "inputs" / "metadata" / "index.csv").exists():
        write_project(root, ScreenDesign(**_as_tuples({name: design[name] for name in design})))
    project = open_project(root)
    settings = export_settings(project, masks="keep")
    return write_store(project, root / "outputs" / "single-cells", settings)


def _as_tuples(design: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in design.items()}


def _classes(
    config: ConfigDict, store: CellStore, cells: Cells, split: CellSplit
) -> tuple[Int[np.ndarray, " n"], EmbedderSpec]:
    """Class of every cell (those of no class are held out), and the spec of the network."""
    names = cells.treatment.take(split.train).occurring()
    numbers = {name: i for i, name in enumerate(names)}
    table = np.array([numbers.get(name, -1) for name in cells.treatment.names], np.int32)
    classes = table[cells.treatment.codes]
    if (classes[split.validation] < 0).any():
        unseen = sorted({*cells.treatment.take(split.validation).occurring()} - {*names})
        raise UsageError(f"data.split: no cell of {', '.join(unseen)} trains, but some validate")
    model = config.model
    spec = EmbedderSpec(
        name="wsl",
        variant=model.variant,
        channels=image_channels(store.channels),
        classes=names,
        side_px=store.side_px,
        input_px=model.input_px,
        intensity=model.intensity,
        masked=model.masked,
        drop_connect=model.drop_connect,
        norm_momentum=model.norm_momentum,
        dtype=model.dtype,
    )
    start = config.get("init_weights", None)
    if start and Path(start).suffix in (".h5", ".hdf5", ".pth", ".pt"):
        options = module_options(detect_layout(start), model.variant)
        spec = dataclasses.replace(
            spec, padding=options["padding"], norm_epsilon=options["norm_epsilon"]
        )
    return classes, spec


def _write_split(
    workdir: Path, config: ConfigDict, store: CellStore, cells: Cells, split: CellSplit
) -> None:
    leakage = cell_splits.find_leakage(cells, split, side_px=store.side_px)
    facts = {
        "scheme": config.data.split.scheme,
        "cells": {side: len(rows) for side, rows in split._asdict().items()},
        "plates": {
            side: cells.plate.take(rows).occurring() for side, rows in split._asdict().items()
        },
        "treatments_held_out": cells.treatment.take(split.held_out).occurring(),
        "in_common": leakage._asdict(),
    }
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / "split.json", facts)


def last_embedder(workdir: Path) -> Path:
    """The embedder that a finished run exported last.

    Raises:
      UsageError: There is none.
    """
    found = sorted((workdir / "embedders").glob("step_*.safetensors"))
    if not found:
        raise UsageError(f"{workdir}: holds no trained embedder; train first")
    return found[-1]
