"""Training on compounds and their assays: what a config with `task = "activity"` describes."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from cellml.data.assay_simulation import simulate_screen, write_screen
from cellml.data.assay_tables import AssayTable, require_binary, require_classes
from cellml.data.molecules import require_all, write_rejected
from cellml.data.text_tables import write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.experiment.activity_data import (
    Described,
    Predictor,
    count_lacking,
    describe,
    training_batches,
)
from cellml.experiment.activity_inputs import (
    MAY_DIFFER,
    check_digests,
    check_settings,
    digests_of,
    note_digests,
    read_inputs,
)
from cellml.experiment.activity_kernel import train_kernel
from cellml.experiment.activity_scores import BEST, assay_scores, summary
from cellml.experiment.activity_split import given_parts, make_parts
from cellml.experiment.steps import step_counts
from cellml.screening.splits import TEST, TRAINING, VALIDATION
from cellml.tasks.activity import ActivityModel, ActivitySpec, Fingerprint, Modality
from cellml.tasks.activity_models import MODEL, load_activity, save_activity
from cellml.tasks.activity_training import LossSettings, make_task, scales_of
from cellml.train import checkpoint
from cellml.train.loop import fit
from cellml.train.optim import make_optimizer, make_schedule
from cellml.train.state import TrainState, eval_variables
from cellml.types import Variables
from cellml.weights.store import read_description

PART_NAMES = {TRAINING: "train", VALIDATION: "val", TEST: "test", -1: ""}


Watch = Callable[[Mapping[str, float]], None]
"""Called with the scores of the validation part after each evaluation; may raise to stop. A watched
run shows and draws nothing itself."""


def train_activity(
    config: ConfigDict, workdir: Path, *, watch: Watch | None = None
) -> TrainState | None:
    """Trains a model of compound activity.

    Below `workdir`: model.safetensors (of the best epoch by `train.best`), trained_on.json (see
    `cellml.experiment.activity_inputs`), rejected.csv, split.csv (the part of every row),
    predictions.csv (of every usable compound in some part), scores.json (of validation and test),
    and what `fit` writes.

    Args:
      config: See `cellml.experiment.activity_presets`.
      workdir: The run's folder.
      watch: See `Watch`.

    Returns:
      The last state; None of a kernel machine, which takes no steps.

    Raises:
      UsageError: The split or the options do not fit the data, or the folder holds a run of other
        settings or data; then nothing is written.
      UserError: The table cannot be read, or holds rejected molecules and `data.strict` is set.
    """
    data = config.data
    check_settings(config, workdir)
    path, features = _files(config, workdir)
    inputs = read_inputs(config, path=path, features=features)
    table, modalities, values = inputs
    given = given_parts(data.split, table, workers=data.workers)
    digests = digests_of(inputs, given)
    check_digests(workdir, digests, path)
    if config.model.kind == "multiclass":
        config.model.n_classes = require_classes(table, config.model.n_classes)
    spec = activity_spec(config, table.names, modalities)
    dropped = "loss" in config and config.loss.modality_dropout > 0
    if modalities and (dropped or any(count_lacking(spec, values).values())):
        spec = dataclasses.replace(spec, may_lack=True)
    if spec.kind == "binary":
        require_binary(table)
    cache = Path(data.cache or workdir / "molecules")
    described = describe(spec, table.smiles, values, cache=cache, workers=data.workers)
    if data.strict or not len(described.rows):
        require_all(described.rejected, str(path))
    parts = make_parts(data.split, table, given, workers=data.workers)
    workdir.mkdir(parents=True, exist_ok=True)
    note_digests(workdir, digests)
    write_rejected(workdir / "rejected.csv", described.rejected)
    _write_parts(workdir / "split.csv", table, parts)
    # Nothing of what the split leaves out reaches the model, not even to be predicted.
    described = described.take(np.flatnonzero(parts[described.rows] >= 0))
    run = _Run(config, workdir, spec, described, table, parts, watch)
    state = run.train()
    _write_results(workdir, run, table, parts)
    return state


def activity_spec(
    config: ConfigDict, assays: tuple[str, ...], modalities: tuple[Modality, ...]
) -> ActivitySpec:
    """The spec that a config's `model` describes.

    Args:
      config: The config.
      assays: Names of the assays.
      modalities: From `read_modalities`.

    Returns:
      The spec.
    """
    model = config.model
    return ActivitySpec(
        name=config.task,
        kind=model.kind,
        assays=assays,
        n_classes=model.n_classes,
        representation=model.representation,
        preset=model.preset,
        mpnn=tuple(sorted(model.mpnn.items())),
        fingerprint=Fingerprint(**model.fingerprint),
        modalities=modalities,
        presence=model.presence,
        largest_fragment=model.largest_fragment,
        hidden=tuple(model.hidden),
        dropout=float(model.dropout),
        input_dropout=float(model.input_dropout),
        activation=model.activation,
        uncertainty_weights=model.uncertainty_weights,
        evidential=model.evidential,
        members=model.members,
    )


class _Run:
    """One training: the data of each part, and the best epoch so far."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        spec: ActivitySpec,
        described: Described,
        table: AssayTable,
        parts: Int[np.ndarray, " n"],
        watch: Watch | None,
    ) -> None:
        self.config, self.workdir, self.spec, self.described = config, workdir, spec, described
        self.watch = watch
        self.smiles, self.labels = table.smiles, table.labels.astype(np.float32)
        mine = parts[described.rows]
        tested = np.isfinite(self.labels[described.rows]).any(axis=1)
        # A compound without any readout teaches nothing and would only dilute the batches.
        self.training = described.take(np.flatnonzero((mine == TRAINING) & tested))
        # Without a validation part the last epoch counts, and nothing is evaluated.
        self.validation = described.take(np.flatnonzero(mine == VALIDATION))
        # What is said of validation compounds, where the model has learned from them since.
        self.heard: Float[np.ndarray, "v t"] | None = None
        if not len(self.training.rows):
            raise UsageError("no training compound has a readout")
        self.predictor = Predictor(spec, batch_size=config.train.predict_batch_size)
        self.best_by = config.train.best
        if self.best_by not in (*BEST, "last"):
            known = ", ".join((*BEST, "last"))
            raise UsageError(f"train.best: unknown {self.best_by!r}; known: {known}")

    def train(self) -> TrainState | None:
        """Trains and leaves the best model in the folder."""
        config, rows = self.config, self.training.rows
        if self.spec.is_kernel:
            both = np.union1d(rows, self.validation.rows)
            left_out = train_kernel(
                config,
                self.workdir,
                self.spec,
                self.described.take(np.searchsorted(self.described.rows, both)),
                [self.smiles[row] for row in both.tolist()],
                self.labels[both],
            )
            self.heard = left_out[np.isin(both, self.validation.rows)]
            return None
        counts = step_counts(config.train, n_examples=len(rows))
        optimizer = timed_optimizer(
            config.optimizer, steps=counts["steps"], epoch=-(-len(rows) // config.train.batch_size)
        )
        labels = self.labels[rows]
        settings = LossSettings(**config.loss)
        batches = training_batches(
            self.training,
            {"labels": labels},
            batch_size=config.train.batch_size,
            seed=config.seed,
            parts=len(jax.local_devices()),
        )
        if not checkpoint.steps(self.workdir):  # of another run: this one begins anew
            (self.workdir / MODEL).unlink(missing_ok=True)
        state = fit(
            make_task(
                self.spec,
                settings,
                scales=scales_of(
                    self.spec,
                    labels,
                    self.training.features,
                    scale_features=config.data.scale_features,
                ),
                labels=labels,
            ),
            make_optimizer(optimizer),
            batches,
            init_batch=next(batches(0)),
            evaluate_host=self.evaluate if len(self.validation.rows) else None,
            workdir=self.workdir,
            seed=config.seed,
            config=config.to_dict(),
            may_differ=MAY_DIFFER,
            learning_rate=make_schedule(optimizer),
            log_every=config.train.log_every,
            ema_decay=config.train.ema_decay,
            **dict.fromkeys(("progress", "tensorboard", "curves"), self.watch is None),
            **counts,
        )
        if self.best_by == "last" or not (self.workdir / MODEL).is_file():
            self._save(eval_variables(state), {"step": int(state.step)})
        return state

    def evaluate(self, variables: Variables) -> dict[str, float]:
        """Scores the validation part and keeps the model if it is the best so far."""
        model = ActivityModel(self.spec, variables)
        predicted, _ = self.predictor(model, self.validation)
        found = summary(self.spec.kind, self.labels[self.validation.rows], predicted)
        if self.best_by != "last":
            if self.best_by not in found:
                raise UsageError(
                    f"train.best: {self.best_by!r} is no score of kind {self.spec.kind!r}; "
                    f"known: {', '.join(sorted(found))}, last"
                )
            score = found[self.best_by] * (1 if BEST[self.best_by] == "max" else -1)
            if self._is_better(score):
                self._save(variables, {"validation": found, "score": score})
        if self.watch is not None:
            self.watch(found)
        return found

    def _is_better(self, score: float) -> bool:
        """Strictly: a resumed run that evaluates an epoch again changes nothing."""
        path = self.workdir / MODEL
        if not path.is_file():
            return True
        before = read_description(path)["card"].get("score")
        # An undefined score is no reason to keep a model, nor to replace one.
        return before is None or math.isnan(before) or score > before

    def _save(self, variables: Variables, card: Mapping[str, Any]) -> None:
        plain = jax.tree.map(np.asarray, dict(variables))
        model = ActivityModel(self.spec, plain)
        save_activity(self.workdir / MODEL, model, card={**card, "config": self.config.to_dict()})


def timed_optimizer(config: ConfigDict, *, steps: int, epoch: int) -> dict[str, Any]:
    """An optimiser's config in steps, from one whose schedule is in epochs.

    Args:
      config: As of `make_optimizer`; the schedule may have `warmup_epochs`, from which its
        `warmup_steps` and `steps` follow.
      steps: Of the whole run.
      epoch: Steps of an epoch.

    Returns:
      Plain values.
    """
    plain = {name: config[name] for name in config}
    schedule = dict(plain["schedule"].items())
    if "warmup_epochs" in schedule:
        warmup = round(schedule.pop("warmup_epochs") * epoch)
        schedule |= {"steps": max(steps, 1), "warmup_steps": min(warmup, max(steps, 1) - 1)}
    return {**plain, "schedule": schedule}


def _files(config: ConfigDict, workdir: Path) -> tuple[Path, list[Path]]:
    """Table and features of the config, or of a screen that is simulated below `workdir`."""
    data = config.data
    path, features = data.path, [Path(f) for f in data.features]
    design = {name: data.simulate[name] for name in data.simulate}
    if path:
        return Path(path), features
    assays, morphology = write_screen(workdir / "screen", simulate_screen(**design))
    fuses = config.model.representation == "features_only" or data.simulated_features
    return assays, [morphology] if fuses else features


def _write_parts(path: Path, table: AssayTable, parts: Int[np.ndarray, " n"]) -> None:
    names = [PART_NAMES[part] for part in parts.tolist()]
    write_csv(path, pa.table({"smiles": pa.array(table.smiles), "part": pa.array(names)}))


def _write_results(
    workdir: Path, run: _Run, table: AssayTable, parts: Int[np.ndarray, " n"]
) -> None:
    """Predictions of the best model for all usable compounds, and its scores."""
    model = load_activity(workdir / MODEL)
    rows = run.described.rows
    predicted, _ = run.predictor(model, run.described)
    if run.heard is not None:
        predicted[np.searchsorted(rows, run.validation.rows)] = run.heard
    columns: dict[str, pa.Array] = {
        "smiles": pa.array([table.smiles[i] for i in rows.tolist()]),
        "row": pa.array(rows),
        "part": pa.array([PART_NAMES[part] for part in parts[rows].tolist()]),
    }
    for i, name in enumerate(table.names):
        each = predicted[:, i].reshape(len(rows), -1)
        for k, column in enumerate(each.T):
            title = name if each.shape[1] == 1 else f"{name}_{k}"
            columns[title] = pa.array([f"{value:.7g}" for value in column.tolist()])
    write_csv(workdir / "predictions.csv", pa.table(columns))
    scores = {}
    for part in (VALIDATION, TEST):
        mine = np.flatnonzero(parts[rows] == part)
        if len(mine):
            pair = run.labels[rows[mine]], predicted[mine]
            each = assay_scores(run.spec.kind, *pair)
            scores[PART_NAMES[part]] = {
                "mean": _finite(summary(run.spec.kind, *pair)),
                "assays": {
                    name: _finite({k: float(v[i]) for k, v in each.items()})
                    for i, name in enumerate(table.names)
                },
            }
    write_json(workdir / "scores.json", scores)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {k: v if math.isfinite(v) else None for k, v in values.items()}
