"""Chapter: a small U-Net learns from nothing in about a minute, through the real training path."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from cellml import experiment
from cellml.datasets import load_source
from cellml.demo.fields import MODALITIES, data_options
from cellml.demo.nuclei import PREDICTION_KEY, SCALE_BAR_PX, TRUTH_KEY
from cellml.demo.settings import DemoRun, DemoSize, Stopwatch
from cellml.experiment.semantic import segmenter_spec
from cellml.metrics import evaluate_labels, summarise
from cellml.models.unet import count_parameters
from cellml.report import charts, theme
from cellml.report.html import Chapter, Figure, Headline, Section
from cellml.report.panels import ColourKey, Outlines, Panel, displayed, figure_rows
from cellml.tasks.semantic import Segmenter, labels_from_maps, load_segmenter, make_task
from cellml.tasks.whole_image import predict_stack
from cellml.train.logs import read_metrics

FINISHED = "finished.json"
SEED_DISTANCE_MIN = 0.25
"""Distances, the slowest of the maps to learn, hardly reach the usual 0.5 within a minute."""
CURVE_COLOURS = {"training crops": theme.GREY, "held-out fields": theme.BLUE}


@dataclass(frozen=True)
class Snapshot:
    """What the network said of the held-out fields after some steps.

    Attributes:
      step: Steps of training.
      ap: mAP, mean over the held-out fields.
      probabilities: Of the shown fields.
      labels: Likewise.
    """

    step: int
    ap: float
    probabilities: Sequence[Float[np.ndarray, "h w"]]
    labels: Sequence[Int[np.ndarray, "h w"]]


def demo_config(size: DemoSize, data_dir: Path) -> ConfigDict:
    """The experiment: a narrow U-Net on simulated fields, a new random crop every time.

    Args:
      size: Width and length of the training.
      data_dir: Where the simulated fields are built.
    Returns:
      A config as those of `configs/`.
    """
    side = size.training_crop_px
    return ConfigDict(
        {
            "task": "semantic",
            "seed": 1,
            "data": {
                "name": "nuclei_simulated",
                "data_dir": str(data_dir),
                "manual_dir": None,
                "train_split": "train",
                "eval_split": "validation",
                "options": data_options(size),
                "modality_weights": {"fluorescence": 0.5, "tissue": 0.5},
            },
            "model": {
                "preset": "residual",
                "changes": {"filters": size.training_filters},
                "in_channels": 3,
                "heads": ("foreground", "boundary", "distance"),
                "percentiles": (1.0, 99.8),
                "diameter_px": 22.0,
            },
            "loss": {"dice_weight": 0.5},
            "augmentation": {
                "crop_px": side,
                "dihedral": True,
                "rotate": False,
                "scale": 0.2,
                "elastic_px": 0.0,
                "gamma": 0.3,
                "contrast": 0.1,
                "blur_px": 0.0,
                "noise": 0.03,
                "stain": 0.1,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 4e-3,
                "weight_decay": 1e-4,
                "clip_norm": 1.0,
                "schedule": {
                    "name": "cosine",
                    "steps": size.training_steps,
                    "warmup_steps": max(1, size.training_steps // 20),
                    "final_fraction": 0.02,
                },
            },
            "train": {
                "steps": size.training_steps,
                "batch_size": size.training_batch,
                "ema_decay": 0.0,
                "log_every": max(1, size.training_steps // 64),
                "eval_every": max(1, size.training_steps // size.training_snapshots),
                "checkpoint_every": max(1, size.training_steps // size.training_snapshots),
            },
            "eval": {"side_px": side, "batch_size": size.training_batch},
        }
    )


def training_chapter(run: DemoRun) -> Chapter:
    """Trains, and shows how the answers to held-out fields change on the way.

    Args:
      run: The tour.
    Returns:
      The chapter.
    """
    config = demo_config(run.size, run.out / "data")
    workdir = run.out / "training"
    run.say(f"training a small U-Net for {config.train.steps} steps")
    watch = Stopwatch()
    _train(config, workdir)
    seconds = watch.seconds
    records = with_evaluation_loss(config, read_metrics(workdir / "metrics.jsonl"))
    start = _untrained(config)
    fields = _held_out(config, run.size)
    run.say("looking at its snapshots")
    snapshots = [
        _snapshot(model, step, fields) for step, model in [(0, start), *_exported(workdir)]
    ]
    (workdir / FINISHED).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    iou = [record["eval/iou"] for record in records if "eval/iou" in record]
    run.numbers["training"] = {
        "seconds": seconds,
        "steps": config.train.steps,
        "parameters": count_parameters(start.variables),
        "ap_dsb2018": {s.step: s.ap for s in snapshots},
        "iou": iou,
    }
    return Chapter(
        "Learning from nothing",
        "A small network starts with random weights and, shown nothing but simulated fields, "
        "learns what a nucleus is.",
        [
            _film_section(fields, snapshots),
            _curve_section(config, records, snapshots, seconds, count_parameters(start.variables)),
        ],
        [
            Headline(
                f"{snapshots[0].ap:.2f} → {snapshots[-1].ap:.2f}",
                f"mAP of a small U-Net before and after {seconds:.0f} s of training",
            )
        ],
    )


def _train(config: ConfigDict, workdir: Path) -> None:
    """Trains; goes on where a run was killed, and starts anew where one was finished."""
    stale = workdir / "demo_config.json"
    text = config.to_json()
    if (workdir / FINISHED).exists() or (stale.exists() and stale.read_text("utf-8") != text):
        shutil.rmtree(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    stale.write_text(text, encoding="utf-8")
    experiment.run(config, workdir)


def with_evaluation_loss(config: ConfigDict, records: Sequence[dict]) -> list[dict]:
    """Adds the total loss of the held-out fields, which the log holds in parts.

    Args:
      config: Of the training.
      records: Of `metrics.jsonl`.
    Returns:
      The records; those of an evaluation with `eval/loss`, weighted as in training.
    """
    spec = segmenter_spec(config)
    weights = make_task(spec, dice_weight=config.loss.dice_weight).weights
    return [
        {**r, "eval/loss": sum(w * r[f"eval/{name}"] for name, w in weights.items())}
        if all(f"eval/{name}" in r for name in weights)
        else r
        for r in records
    ]


def _untrained(config: ConfigDict) -> Segmenter:
    """The network of step 0, with the parameters that the training began with."""
    spec = segmenter_spec(config)
    side = config.augmentation.crop_px
    # As `cellml.train.loop.fit` splits the seed.
    init_key, _ = jax.random.split(jax.random.key(config.seed))
    batch = {"image": jnp.zeros((1, side, side, spec.in_channels))}
    return _for_young_networks(Segmenter(spec, jax.jit(make_task(spec).init)(init_key, batch)))


def _exported(workdir: Path) -> list[tuple[int, Segmenter]]:
    found = sorted((workdir / "segmenters").glob("step_*.safetensors"))
    return [
        (int(path.stem.removeprefix("step_")), _for_young_networks(load_segmenter(path)))
        for path in found
    ]


def _for_young_networks(model: Segmenter) -> Segmenter:
    return model._replace(spec=dataclasses.replace(model.spec, seed_distance_min=SEED_DISTANCE_MIN))


def _held_out(config: ConfigDict, size: DemoSize) -> list[dict]:
    """The most crowded field of each modality first, then others, from the validation split."""
    source = load_source(
        "nuclei_simulated", "validation", data_dir=config.data.data_dir, **data_options(size)
    )
    records = sorted(source, key=lambda record: -int(record["labels"].max()))
    first = {record["modality"]: record for record in reversed(records)}
    shown = [first[modality] for modality in sorted(first)]
    rest = [record for record in records if record["id"] not in {r["id"] for r in shown}]
    return (shown + rest)[: max(len(shown), size.fields)]


def _snapshot(model: Segmenter, step: int, fields: Sequence[dict]) -> Snapshot:
    maps = [predict_stack(model, record["image"])[0] for record in fields]
    labels = [labels_from_maps(m, model.spec) for m in maps]
    scores = [
        evaluate_labels(record["labels"], found)
        for record, found in zip(fields, labels, strict=True)
    ]
    shown = len({record["modality"] for record in fields})
    return Snapshot(
        step, summarise(scores).ap_dsb2018, [m[..., 0] for m in maps[:shown]], labels[:shown]
    )


def _film_section(fields: Sequence[dict], snapshots: Sequence[Snapshot]) -> Section:
    chosen = _spread_out(snapshots, 4)
    rows = []
    for i in range(len(snapshots[0].labels)):
        shown = displayed(fields[i]["image"])
        truth = np.asarray(fields[i]["labels"], np.int32)
        over = Panel(shown, f"Truth: {truth.max()} nuclei", [Outlines(truth, theme.TRUTH)])
        image = Panel(shown, "Image", scale_bar_px=SCALE_BAR_PX)
        maps = [
            Panel(theme.paint(s.probabilities[i], theme.PROBABILITY_MAP), f"Step {s.step}")
            for s in chosen
        ]
        heading = MODALITIES[fields[i]["modality"]]
        rows.append((heading, [image, *maps]))
        rows.append(("", [over, *(_outlined(shown, truth, s.labels[i]) for s in chosen)]))
    keys = [
        TRUTH_KEY,
        PREDICTION_KEY,
        ColourKey("probability", colour_map=theme.PROBABILITY_MAP, low="0", high="1"),
    ]
    caption = (
        "Fields that were held out of training. At step 0 the weights are random, and so is the "
        f"answer; step {chosen[-1].step} is the end of the training. Above: the probability that a "
        "pixel belongs to a nucleus. Below: the nuclei cut from it at that step."
    )
    return Section(
        "A film of learning",
        ["Every picture is the same network, a little later. Bright means: this is a nucleus."],
        [Figure(figure_rows(rows, keys), caption)],
    )


def _outlined(shown: np.ndarray, truth: np.ndarray, found: np.ndarray) -> Panel:
    score = evaluate_labels(truth, found).ap_dsb2018
    return Panel(
        shown, f"{found.max()} found, mAP {score:.2f}", [Outlines(found, theme.PREDICTION)]
    )


def _spread_out(snapshots: Sequence[Snapshot], count: int) -> list[Snapshot]:
    """The first, the last and what lies between them in growing steps: much is learnt early."""
    if len(snapshots) <= count:
        return list(snapshots)
    share = np.linspace(0, 1, count) ** 1.6
    return [snapshots[i] for i in sorted({round(s * (len(snapshots) - 1)) for s in share})]


def _curve_section(
    config: ConfigDict,
    records: Sequence[dict],
    snapshots: Sequence[Snapshot],
    seconds: float,
    parameters: int,
) -> Section:
    def curve(name: str) -> tuple[list[float], list[float]]:
        rows = [(r["step"], r[name]) for r in records if r.get(name) is not None]
        return [float(s) for s, _ in rows], [float(v) for _, v in rows]

    body = charts.lines(
        {
            "Loss": {"training crops": curve("train/loss"), "held-out fields": curve("eval/loss")},
            "Overlap of all nuclei (IoU)": {"held-out fields": curve("eval/iou")},
            "Nuclei found (mAP)": {
                "held-out fields": ([float(s.step) for s in snapshots], [s.ap for s in snapshots])
            },
        },
        CURVE_COLOURS,
        xlabel="step",
        ylabels=["", "", ""],
        ylim={"Overlap of all nuclei (IoU)": (0.0, 1.0), "Nuclei found (mAP)": (0.0, 1.0)},
        label="Loss, IoU and mAP during training",
    )
    iou = curve("eval/iou")[1]
    caption = (
        f"{config.train.steps} steps of {config.train.batch_size} crops took {seconds:.0f} s, "
        f"compilation included; the network has {parameters:,} parameters. IoU of nuclei against "
        f"background rose to {iou[-1]:.2f}, mAP from {snapshots[0].ap:.2f} to "
        f"{snapshots[-1].ap:.2f}. A loss on held-out fields that turned upwards while that of the "
        "training crops kept falling would mean learning by heart."
    )
    return Section(
        "The curves",
        [
            "This is the training that cellml train runs, with checkpoints and logs in the folder "
            "“training” beside this page."
        ],
        [Figure(body, caption)],
    )
