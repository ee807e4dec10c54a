"""Training of Mask R-CNN: what a config with `task = "instances"` describes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from cellml.data.augmentation import AugmentationOptions
from cellml.data.batching import Record, central_square
from cellml.data.instance_batching import (
    InstanceRecipe,
    instance_evaluation_batches,
    instance_training_batches,
)
from cellml.datasets import default_data_dir
from cellml.experiment.segmentation_data import sources
from cellml.experiment.steps import step_counts
from cellml.metrics.scores import evaluate_labels, summarise
from cellml.tasks.instances import (
    InstanceSegmenter,
    InstanceSpec,
    load_instance_segmenter,
    make_task,
    save_instance_segmenter,
    segment_images,
)
from cellml.train.loop import fit
from cellml.train.optim import make_optimizer, make_schedule
from cellml.train.stages import Chooser, staged
from cellml.train.state import TrainState, eval_variables
from cellml.types import Batch, Variables

HEADS = ("fpn/", "rpn/", "box/", "mask/")
TRAINABLE: Mapping[str, Chooser] = {
    "all": lambda path: True,
    "3+": lambda path: path.startswith((*HEADS, *(f"backbone/stage{i}" for i in (3, 4, 5)))),
    "4+": lambda path: path.startswith((*HEADS, "backbone/stage4", "backbone/stage5")),
    "5+": lambda path: path.startswith((*HEADS, "backbone/stage5")),
    "heads": lambda path: path.startswith(HEADS),
}
"""Sets of trained layers, named as in matterport/Mask_RCNN, whose `res5` is `backbone/stage5`."""


def instance_spec(config: ConfigDict) -> InstanceSpec:
    """The spec that a config's `model` describes."""
    model = config.model
    percentiles = model.percentiles
    return InstanceSpec(
        name=config.task,
        preset=model.preset,
        changes=tuple(
            (name, tuple(value) if isinstance(value, list) else value)
            for name, value in model.changes.items()
        ),
        in_channels=model.in_channels,
        percentiles=(float(percentiles[0]), float(percentiles[1])) if percentiles else None,
        diameter_px=float(model.diameter_px),
        enlarge=model.enlarge,
        area_min_px=model.area_min_px,
    )


def train_instances(config: ConfigDict, workdir: Path) -> TrainState:
    """Trains a Mask R-CNN; exports each checkpoint to `workdir/segmenters/step_N.safetensors`."""
    spec = instance_spec(config)
    settings = spec.settings
    train_source, eval_source = sources(config)
    recipe = InstanceRecipe(
        max_instances=settings.max_instances,
        mini_mask_px=settings.mini_mask_px,
        percentiles=spec.percentiles,
        channels=spec.in_channels,
    )
    shares = config.data.modality_weights
    augmentation = config.augmentation
    batches = instance_training_batches(
        train_source,
        recipe,
        AugmentationOptions(**augmentation) if augmentation else None,
        batch_size=config.train.batch_size,
        seed=config.seed,
        modality_weights=dict(shares.items()) if shares else None,
    )
    side_px = config.eval.side_px

    def evaluate() -> Iterable[Batch]:
        return instance_evaluation_batches(
            eval_source, recipe, side_px=side_px, batch_size=config.eval.batch_size
        )

    def evaluate_host(variables: Variables) -> Mapping[str, float]:
        segmenter = InstanceSegmenter(spec, variables)
        return {
            "ap_dsb2018": mean_score(
                segmenter, recipe, eval_source, side_px=side_px, n_images=config.eval.n_images
            )
        }

    def export(state: TrainState) -> None:
        step = int(state.step)
        save_instance_segmenter(
            workdir / "segmenters" / f"step_{step:06d}.safetensors",
            InstanceSegmenter(spec, jax.tree.map(np.asarray, eval_variables(state))),
            card={"step": step, "config": config.to_dict()},
            half=True,
        )

    init_batch = next(batches(0))
    lengths = step_counts(config.train, n_examples=len(train_source))
    tx, rate = _optimizer(config.optimizer, steps=lengths["steps"])
    return fit(
        make_task(spec),
        tx,
        batches,
        init_batch=init_batch,
        evaluate=evaluate,
        evaluate_host=evaluate_host,
        workdir=workdir,
        seed=config.seed,
        config=config.to_dict(),
        may_differ=("data.data_dir", "data.manual_dir"),
        learning_rate=rate,
        on_checkpoint=export,
        best=("ap_dsb2018", "max"),
        variables=start_variables(
            config.get("init_weights", None),
            spec,
            init_batch,
            folder=Path(config.data.data_dir or default_data_dir()) / "weights",
        ),
        log_every=config.train.log_every,
        ema_decay=config.train.ema_decay,
        **lengths,
    )


def start_variables(
    path: str | None, spec: InstanceSpec, batch: Batch, *, folder: Path
) -> Variables | None:
    """Weights to start from.

    Args:
      path: A `.safetensors` model of ours, a `.h5` of matterport/Mask_RCNN, `"coco"` for its
        published COCO weights (fetched once), or None.
      spec: The model to be trained.
      batch: An example batch.
      folder: Where fetched weights are kept.
    Returns:
      The variables; None starts from random ones. Heads of another number of classes are random.
    """
    if not path:
        return None
    if path != "coco" and not path.endswith((".h5", ".hdf5")):
        return load_instance_segmenter(path).variables
    from cellml.weights.downloads import fetch
    from cellml.weights.matterport import read_matterport

    file = fetch("mask_rcnn_coco", folder) if path == "coco" else Path(path)
    fresh = jax.jit(make_task(spec).init)(jax.random.key(0), dict(batch))
    return read_matterport(file, spec.settings, reinitialise_heads=fresh)


def mean_score(
    segmenter: InstanceSegmenter,
    recipe: InstanceRecipe,
    source: Sequence[Record],
    *,
    side_px: int,
    n_images: int,
) -> float:
    """mAP_DSB (preset kaggle) over the central squares of some images of a source.

    Args:
      segmenter: The model.
      recipe: Preprocessing.
      source: Records.
      side_px: Side of the squares.
      n_images: At most so many, evenly spread.
    Returns:
      The mean over the images.
    """
    scores = []
    for row in np.linspace(0, len(source) - 1, min(n_images, len(source))).astype(int):
        record = source[int(row)]
        image = central_square(recipe.image(record), side_px)
        true = central_square(np.asarray(record["labels"], np.int32), side_px)
        found = segment_images(segmenter, image[None])[0]
        scores.append(evaluate_labels(true, found.labels))
    return summarise(scores).ap_dsb2018


def _optimizer(
    config: ConfigDict, *, steps: int
) -> tuple[optax.GradientTransformation, Callable[[int], Any]]:
    """The optimiser and its learning rate by step, in stages if the config has them."""
    stages = config.get("stages", None)
    if not stages:
        return make_optimizer(config), make_schedule(config)
    rates = [float(rate) for rate in stages.learning_rates]
    trained = []
    for name in stages.trained:
        if name not in TRAINABLE:
            raise ValueError(f"stages.trained: unknown {name!r}; known: {', '.join(TRAINABLE)}")
        trained.append(TRAINABLE[name])
    # stages are equally long, as the dissertation's three epochs are
    boundaries = sorted({round(steps * i / len(rates)) for i in range(1, len(rates))} - {0})
    kept = len(rates) - 1 - len(boundaries)  # fewer steps than stages: the last ones count
    rates, trained = rates[kept:], trained[kept:]
    plain = {k: v for k, v in config.items() if k != "stages"} | {"learning_rate": 1.0}
    tx = staged(make_optimizer(plain), boundaries=boundaries, rates=rates, trained=trained)
    return tx, lambda step: rates[int(np.searchsorted(boundaries, step, side="right"))]
