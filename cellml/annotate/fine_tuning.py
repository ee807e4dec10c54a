"""Trains the assistant's U-Net further on images that the user has annotated.

A part of the samples is held out: every fifth image if there are five, else a fifth of each image.
The model before and after is scored there, and a model that became worse never goes live. The run
goes through `cellml.train` as any other: it checkpoints, and goes on where it was cut off.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Integer, Shaped

from cellml.annotate.assist import MODEL_FILE, WINDOW_PX, Assistant
from cellml.annotate.windows import model_channels
from cellml.data.augmentation import AugmentationOptions
from cellml.data.batching import MapRecipe, Record, training_batches
from cellml.errors import UserError
from cellml.metrics.scores import evaluate_labels, summarise
from cellml.ops.intensity import intensity_limits, normalise
from cellml.ops.tiles import pad_reflect, plan_tiles
from cellml.tasks.semantic import (
    Segmenter,
    SegmenterSpec,
    labels_from_maps,
    make_task,
    save_segmenter,
)
from cellml.train.loop import fit
from cellml.train.optim import make_optimizer
from cellml.train.state import eval_variables
from cellml.types import Batch

Sample = tuple[Shaped[np.ndarray, "h w c"], Integer[np.ndarray, "h2 w2"]]
"""Image and labels; every object of the image is annotated, since the rest is background."""

REPORT_FILE = "fine_tuning.json"
HOLD_OUT_EVERY = 5
STRIP_MIN_PX = 32
"""A held-out strip is at least this wide, and the image three times as wide; else it is not cut."""
PQ_LOSS_MAX = 0.02
"""Panoptic quality on the held-out part may fall by this much; more is a failure."""
TRAINING_SHARE = 0.95
"""Of the progress; scoring is the rest."""


class FineTuningCancelledError(UserError):
    """The user stopped the training; calling again with the same arguments goes on."""


class FineTuningFailedError(UserError):
    """The trained model is worse than the one before; nothing was put in its place."""


@dataclass(frozen=True)
class FineTuningOptions:
    """How the model is trained further. The rate is constant after a short linear warm-up.

    Attributes:
      learning_rate: A fifth of the one that the shipped model was trained with.
      batch_size: Crops a step.
      crop_px: Side of a crop.
      warmup_steps: At most a fifth of the steps.
      checkpoint_every: Steps that a killed run can lose.
      seed: Of crops and augmentation.
    """

    learning_rate: float = 3e-4
    batch_size: int = 4
    crop_px: int = 128
    warmup_steps: int = 10
    checkpoint_every: int = 25
    seed: int = 0


def fine_tune(
    assistant: Assistant,
    samples: Sequence[Sample],
    *,
    steps: int,
    workdir: str | Path,
    progress: Callable[[float, str], None] = lambda share, message: None,
    cancelled: Callable[[], bool] = lambda: False,
    options: FineTuningOptions | None = None,
) -> Assistant:
    """Trains a copy of the assistant's model.

    Args:
      assistant: Start from its weights; it stays as it is.
      samples: Images with all their objects.
      steps: Optimiser steps in all.
      workdir: The run's folder. A run that was cancelled or killed goes on from its last checkpoint
        there if it is called with the same arguments.
      progress: Called with the share done and a message, in the thread of the caller.
      cancelled: Asked before every step.
      options: None for the defaults.

    Returns:
      The new assistant. `Assistant.load(workdir)` gives the same.

    Raises:
      UserError: There are no samples or no objects in them, or shapes do not fit.
      FineTuningCancelledError: `cancelled` said so.
      FineTuningFailedError: The new model is worse on the held-out part.
      NonFiniteError: The training diverged.
      CheckpointMismatchError: `workdir` holds a run on other samples or with other options.
    """
    options = options or FineTuningOptions()
    spec = assistant.segmenter.spec
    records = [_record(sample, spec) for sample in _checked(samples, steps)]
    train, held_out, where = hold_out(records)
    workdir = Path(workdir)
    trained = _train(assistant.segmenter, train, steps, workdir, progress, cancelled, options)
    report: dict[str, Any] = {
        "base": assistant.name,
        "steps": steps,
        "images": len(samples),
        "objects": sum(len(np.unique(labels)) - int((labels == 0).any()) for _, labels in samples),
        "options": asdict(options),
        "held_out": where,
        "before": held_out_scores(assistant, held_out),
    }
    progress(0.5 + TRAINING_SHARE / 2, "checking the new model")
    new = Assistant(workdir.name, trained)
    report["after"] = held_out_scores(new, held_out)
    before, after = report["before"]["pq"], report["after"]["pq"]
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if after < before - PQ_LOSS_MAX:
        raise FineTuningFailedError(
            f"training made the model worse on {where}: panoptic quality {before:.2f} before, "
            f"{after:.2f} after; the model in use stays. Annotate more images, completely."
        )
    save_segmenter(workdir / MODEL_FILE, trained, card=report)
    progress(1.0, f"panoptic quality on {where}: {before:.2f} before, {after:.2f} after")
    return new


def hold_out(records: Sequence[Record]) -> tuple[list[Record], list[Record], str]:
    """Sets a part of the samples aside.

    Args:
      records: Images and labels.

    Returns:
      Records to train on, records to score on, and in words what the latter are. Where neither
      whole images nor strips with objects can be spared, the model is scored on what it learns.
    """
    every = HOLD_OUT_EVERY
    if len(records) >= every:
        train = [r for i, r in enumerate(records) if i % every != every - 1]
        rest = [r for i, r in enumerate(records) if i % every == every - 1]
        where = f"{len(rest)} held-out {'image' if len(rest) == 1 else 'images'}"
    else:
        pairs = [_cut_strip(record) for record in records]
        train, rest = [a for a, _ in pairs], [b for _, b in pairs if b is not None]
        where = "held-out strips of the images"
    if _objects(rest) and _objects(train):
        return train, rest, where
    return list(records), list(records), "the training images (too few objects to hold any out)"


def held_out_scores(assistant: Assistant, records: Sequence[Record]) -> dict[str, float]:
    """Scores a model on normalised images.

    Args:
      assistant: Its model.
      records: Images, as the model takes them, and labels.

    Returns:
      `pq`, `ap50` and `n_true`, pooled over all objects, as of windows of `WINDOW_PX` px.
    """
    spec, scores = assistant.segmenter.spec, []
    for record in records:
        shape = record["labels"].shape
        tile = (min(WINDOW_PX, shape[0]), min(WINDOW_PX, shape[1]))
        for found in plan_tiles(shape, tile=tile, margin=0):
            place = found.read.slices()
            image, true = record["image"][place], record["labels"][place]
            maps = assistant.maps(pad_reflect(image, (WINDOW_PX, WINDOW_PX)))[0]
            pred = labels_from_maps(maps[: true.shape[0], : true.shape[1]], spec)
            scores.append(evaluate_labels(true, pred, preset="stardist"))
    total = summarise(scores)
    pq, ap50 = float(np.nan_to_num(total.pq)), float(np.nan_to_num(total.ap[0]))
    return {"pq": pq, "ap50": ap50, "n_true": float(total.n_true)}


class _Normalised(MapRecipe):
    """Records whose images are normalised already, as a whole and once."""

    def image(self, record: Record) -> np.ndarray:
        return record["image"]


def _train(
    segmenter: Segmenter,
    records: Sequence[Record],
    steps: int,
    workdir: Path,
    progress: Callable[[float, str], None],
    cancelled: Callable[[], bool],
    options: FineTuningOptions,
) -> Segmenter:
    spec = segmenter.spec
    batches = training_batches(
        pieces(records, side_px=2 * options.crop_px),
        _Normalised(heads=spec.heads, channels=spec.in_channels),
        AugmentationOptions(
            crop_px=options.crop_px,
            scale=0.25,
            elastic_px=2.0,
            gamma=0.3,
            contrast=0.15,
            blur_px=1.0,
            noise=0.04,
            stain=0.15,
        ),
        batch_size=options.batch_size,
        seed=options.seed,
    )

    def watched(start: int) -> Iterator[Batch]:
        for step, batch in enumerate(batches(start), start):
            if cancelled():
                raise FineTuningCancelledError(f"training was cancelled at step {step} of {steps}")
            # the first step compiles, which can take longer than all others together
            wait = " (preparing, this can take some minutes)" if step == start else ""
            progress(TRAINING_SHARE * step / steps, f"step {step} of {steps}{wait}")
            yield batch

    warmup = min(options.warmup_steps, steps // 5)
    optimizer = {
        "name": "adamw",
        "learning_rate": options.learning_rate,
        "weight_decay": 1e-4,
        "clip_norm": 1.0,
        "schedule": {"name": "constant", "warmup_steps": warmup},
    }
    state = fit(
        make_task(spec),
        make_optimizer(optimizer),
        watched,
        init_batch=next(batches(0)),
        steps=steps,
        seed=options.seed,
        workdir=workdir,
        devices=jax.local_devices()[:1],
        config={
            "optimizer": optimizer,
            "options": asdict(options),
            "steps": steps,
            "spec": spec.to_json(),
            "inputs": _fingerprint(segmenter, records),
        },
        variables=segmenter.variables,
        checkpoint_every=options.checkpoint_every,
        prefetch=0,  # a step is announced when it begins, and none is made in vain
        progress=False,
        tensorboard=False,
        curves=False,
    )
    return Segmenter(spec, jax.tree.map(np.asarray, eval_variables(state)))


def pieces(records: Sequence[Record], *, side_px: int) -> list[Record]:
    """Cuts images into pieces, so that crops are drawn where objects are.

    Args:
      records: Images and labels.
      side_px: Of the pieces, which overlap by a quarter; smaller images stay whole.

    Returns:
      The pieces with objects, and at most as many without.
    """
    full: list[Record] = []
    empty: list[Record] = []
    for record in records:
        shape = record["labels"].shape
        for tile in plan_tiles(shape, tile=(side_px, side_px), margin=side_px // 8):
            piece = _cut(record, tile.read.slices())
            (full if piece["labels"].any() else empty).append(piece)
    keep = np.linspace(0, len(empty) - 1, min(len(empty), len(full))).round().astype(int)
    return full + [empty[i] for i in keep]


def _checked(samples: Sequence[Sample], steps: int) -> Sequence[Sample]:
    if steps < 1:
        raise UserError(f"training: {steps} steps found, at least 1 expected")
    if not samples:
        raise UserError("training: no image given, at least one expected")
    for number, (image, labels) in enumerate(samples, 1):
        if image.shape[:2] != labels.shape:
            raise UserError(
                f"training: image {number} is {image.shape[0]} x {image.shape[1]} px, its labels "
                f"{labels.shape[0]} x {labels.shape[1]}"
            )
    if not any(labels.any() for _, labels in samples):
        raise UserError("training: the images have no object of this class; annotate some first")
    return samples


def _record(sample: Sample, spec: SegmenterSpec) -> Record:
    pixels = model_channels(sample[0])
    image = normalise(pixels, intensity_limits(pixels, spec.percentiles), channels=spec.in_channels)
    return {"image": image, "labels": sample[1].astype(np.int32), "modality": "annotated"}


def _cut(record: Record, place: tuple[slice, slice]) -> Record:
    return {**record, "image": record["image"][place], "labels": record["labels"][place]}


def _cut_strip(record: Record) -> tuple[Record, Record | None]:
    """Cuts the last fifth off the longer axis; None where the image is too short for that."""
    shape = record["labels"].shape
    axis = int(shape[1] >= shape[0])
    length = shape[axis]
    strip = max(length // HOLD_OUT_EVERY, STRIP_MIN_PX)
    if length < 3 * strip:
        return record, None
    first = [slice(None), slice(None)]
    last = [slice(None), slice(None)]
    first[axis], last[axis] = slice(0, length - strip), slice(length - strip, length)
    return _cut(record, (first[0], first[1])), _cut(record, (last[0], last[1]))


def _objects(records: Sequence[Record]) -> bool:
    return any(record["labels"].any() for record in records)


def _fingerprint(segmenter: Segmenter, records: Sequence[Mapping[str, Any]]) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(segmenter.variables):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    for record in records:
        for name in ("image", "labels"):
            digest.update(str(record[name].shape).encode())
            digest.update(np.ascontiguousarray(record[name]).tobytes())
    return digest.hexdigest()
