"""Training of a U-Net: what a config with `task = "semantic"` describes."""

from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from cellml.data.augmentation import AugmentationOptions
from cellml.data.batching import MapRecipe, evaluation_batches, training_batches
from cellml.experiment.segmentation_data import sources
from cellml.experiment.steps import step_counts
from cellml.tasks.semantic import (
    Segmenter,
    SegmenterSpec,
    load_segmenter,
    make_task,
    save_segmenter,
)
from cellml.train.loop import fit
from cellml.train.optim import make_optimizer, make_schedule
from cellml.train.state import TrainState, eval_variables
from cellml.types import Batch


def segmenter_spec(config: ConfigDict) -> SegmenterSpec:
    """The spec that a config's `model` describes; post-processing keeps its defaults."""
    model = config.model
    low, high = model.percentiles
    return SegmenterSpec(
        name=config.task,
        preset=model.preset,
        model=tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in model.changes.items()
        ),
        in_channels=model.in_channels,
        heads=tuple(model.heads),
        percentiles=(float(low), float(high)),
        diameter_px=float(model.diameter_px),
    )


def train_semantic(config: ConfigDict, workdir: Path) -> TrainState:
    """Trains a U-Net; each checkpoint is exported to `workdir/segmenters/step_N.safetensors`."""
    spec = segmenter_spec(config)
    train_source, eval_source = sources(config)
    recipe = MapRecipe(
        heads=spec.heads,
        percentiles=spec.percentiles,
        channels=spec.in_channels,
        weighted=config.loss.get("weighted", True),
    )
    weights = config.data.modality_weights
    start = config.get("init_weights", None)
    batches = training_batches(
        train_source,
        recipe,
        AugmentationOptions(**config.augmentation),
        batch_size=config.train.batch_size,
        seed=config.seed,
        modality_weights=dict(weights.items()) if weights else None,
    )

    def evaluate() -> Iterable[Batch]:
        return evaluation_batches(
            eval_source, recipe, side_px=config.eval.side_px, batch_size=config.eval.batch_size
        )

    def export(state: TrainState) -> None:
        step = int(state.step)
        save_segmenter(
            workdir / "segmenters" / f"step_{step:06d}.safetensors",
            Segmenter(spec, jax.tree.map(np.asarray, eval_variables(state))),
            card={"step": step, "config": config.to_dict()},
            half=True,
        )

    return fit(
        make_task(spec, dice_weight=config.loss.dice_weight),
        make_optimizer(config.optimizer),
        batches,
        init_batch=next(batches(0)),
        evaluate=evaluate,
        workdir=workdir,
        seed=config.seed,
        config=config.to_dict(),
        may_differ=("data.data_dir", "data.manual_dir"),
        learning_rate=make_schedule(config.optimizer),
        on_checkpoint=export,
        best=("iou", "max"),
        variables=load_segmenter(start).variables if start else None,
        log_every=config.train.log_every,
        ema_decay=config.train.ema_decay,
        **step_counts(config.train, n_examples=len(train_source)),
    )
