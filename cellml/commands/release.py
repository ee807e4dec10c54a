"""Turns a training run into a model that ships: thresholds, weights file, scores, model card.

launch/release.py --run runs/unet_nuclei --manual-dir DSB2018 --out cellml/weights/pretrained

With `--weights FILE` in place of `--run`, the weights of a model that was released before, under
thresholds that are chosen anew.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from cellml.commands.evaluate import score_source, summary
from cellml.commands.long_work import plain_console
from cellml.commands.release_card import card_text
from cellml.data.writers import write_json
from cellml.datasets import RecordSource, load_source
from cellml.errors import UsageError
from cellml.metrics.scores import evaluate_labels, summarise
from cellml.models.unet import count_parameters
from cellml.ops.instance_maps import labels_from_maps
from cellml.tasks.otsu import segment_otsu
from cellml.tasks.semantic import Segmenter, SegmenterSpec, load_segmenter, save_segmenter
from cellml.tasks.whole_image import predict_stack
from cellml.weights.store import file_sha256, load_weights

GRID: Mapping[str, Sequence[float]] = {
    "foreground_min": (0.4, 0.5, 0.6),
    "seed_distance_min": (0.1, 0.2, 0.3, 0.4),
    "seed_boundary_max": (0.4, 0.5, 0.6),
    "area_min_px": (12, 20, 30, 40),
    "smooth_px": (0.0, 0.5, 0.7, 1.0, 1.5),
    "score_min": (0.0, 0.7, 0.75, 0.8, 0.85),
}
"""Thresholds that are tried, in fields of the spec."""

NEEDED_HEADS: Mapping[str, frozenset[str]] = {
    "seed_distance_min": frozenset({"distance"}),
    "seed_boundary_max": frozenset({"boundary"}),
    "smooth_px": frozenset({"boundary", "distance"}),
}
"""Thresholds that do something only with one of these heads."""

HEAD_SETS = (
    ("foreground",),
    ("foreground", "boundary"),
    ("foreground", "distance"),
    ("foreground", "boundary", "distance"),
)
"""Ways of separating nuclei, compared on the predictions of one network."""

TTA = ("none", "dissertation6", "d4")


class Case(NamedTuple):
    """One image with its truth and its predicted maps (mean over the transforms)."""

    modality: str
    true: np.ndarray
    maps: np.ndarray


def predict_cases(
    segmenter: Segmenter,
    source: RecordSource,
    *,
    per_modality: int = 10**9,
    transforms: str = "none",
) -> list[Case]:
    """Predicts images of a source.

    Args:
      segmenter: The model.
      source: Records.
      per_modality: At most so many images of each modality, spread evenly over the source.
      transforms: TTA preset.
    Returns:
      The cases, modality by modality.
    """
    rows: dict[str, list[int]] = {}
    for row, case in enumerate(source.cases):
        rows.setdefault(str(case["modality"]), []).append(row)
    cases = []
    for modality, members in sorted(rows.items()):
        picks = np.linspace(0, len(members) - 1, min(per_modality, len(members))).astype(int)
        for row in (members[i] for i in picks):
            record = source[row]
            stack = predict_stack(segmenter, record["image"], transforms=transforms, chunk=2)
            cases.append(Case(modality, np.asarray(record["labels"]), stack.mean(axis=0)))
    return cases


def score_cases(
    cases: Iterable[Case],
    heads: Sequence[str],
    wanted: Sequence[str],
    thresholds: Mapping[str, Any],
) -> dict[str, float]:
    """mAP_DSB (preset kaggle) of each modality, and their mean, with some of the heads.

    Args:
      cases: From `predict_cases`.
      heads: Names of the maps' last axis.
      wanted: Those that post-processing may use.
      thresholds: Arguments of `labels_from_maps`.
    Returns:
      Scores by modality, and `"mean"`.
    """
    columns = [heads.index(head) for head in wanted]
    found: dict[str, list[float]] = {}
    for case in cases:
        labels = labels_from_maps(case.maps[..., columns], wanted, **thresholds)
        found.setdefault(case.modality, []).append(evaluate_labels(case.true, labels).ap_dsb2018)
    means = {name: float(np.mean(values)) for name, values in found.items()}
    return {**means, "mean": float(np.mean(list(means.values())))}


def tune_thresholds(
    cases: Sequence[Case],
    heads: Sequence[str],
    wanted: Sequence[str],
    *,
    grid: Mapping[str, Sequence[float]] = GRID,
    modality_weights: Mapping[str, float] | None = None,
) -> tuple[dict[str, float], dict[str, float]]:
    """Finds thresholds with a high weighted mean over the modalities, one after the other.

    Starts from the defaults of `SegmenterSpec` and goes over the grid's fields, setting each to its
    best value while the others stay, until a whole round changes nothing: some 60 trials, where
    all combinations would be thousands. Ties go to what stands, then to the first value.

    Args:
      cases: From `predict_cases`, not those that will be reported.
      heads: Names of the maps' last axis.
      wanted: Those that post-processing may use.
      grid: Values to try.
      modality_weights: Importance of each modality, 0 for those not named; None takes all as
        equal, however few images a modality has.
    Returns:
      The thresholds, and the scores that they reach.
    """
    weights = modality_weights or {case.modality: 1.0 for case in cases}

    def worth(scores: Mapping[str, float]) -> float:
        return sum(weight * scores.get(name, 0.0) for name, weight in weights.items())

    tried = {k: v for k, v in grid.items() if NEEDED_HEADS.get(k, set(wanted)) & set(wanted)}
    default = SegmenterSpec()
    best: dict[str, float] = {name: getattr(default, name) for name in grid}
    scores = score_cases(cases, heads, wanted, best)
    while True:
        before = dict(best)
        for name, values in tried.items():
            for value in values:
                if value == best[name]:
                    continue  # what stands was scored already
                option = {**best, name: value}
                found = score_cases(cases, heads, wanted, option)
                if worth(found) > worth(scores):
                    best, scores = option, found
        if best == before:
            return best, scores


def content_hash(source: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 over ids, pixels and labels of all records in order: which data a model has seen."""
    digest = hashlib.sha256()
    for row in range(len(source)):
        record = source[row]
        digest.update(str(record["id"]).encode())
        for name, dtype in (("image", np.uint8), ("labels", np.uint16)):
            array = np.ascontiguousarray(record[name], dtype)
            digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def mean_diameter_px(source: Sequence[Mapping[str, Any]]) -> float:
    """Median over the images of the median equivalent diameter of their nuclei, in px."""
    medians = []
    for row in range(len(source)):
        areas = np.bincount(np.asarray(source[row]["labels"]).ravel())[1:]
        if np.any(areas):
            medians.append(float(np.median(np.sqrt(4 * areas[areas > 0] / np.pi))))
    return float(np.median(medians))


def main(
    out: Annotated[Path, typer.Option(help="Where the model's files go.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the training run.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Or weights released before.")] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "nuclei",
    data: Annotated[str, typer.Option(help="Data set of the run.")] = "dsb2018",
    data_dir: Annotated[str | None, typer.Option(help="Built data sets.")] = None,
    manual_dir: Annotated[str | None, typer.Option(help="Folder with the images.")] = None,
    per_modality: Annotated[int, typer.Option(help="Training images for the thresholds.")] = 40,
    hours: Annotated[float, typer.Option(help="Time the training took.")] = 0.0,
    remarks: Annotated[str, typer.Option(help="For the card: a Markdown list item.")] = "",
) -> None:
    """Chooses thresholds on training images, scores validation images, writes model and facts.

    Args:
      out: Folder of the model's files.
      run: Folder of the training run; its last exported segmenter is taken, and its log.
      weights: In place of a run: a weights file; no log is written.
      name: Name of the model.
      data: Data set of the run.
      data_dir: Where built data sets lie.
      manual_dir: Folder with the images.
      per_modality: Training images of each modality for the thresholds.
      hours: Time the training took, for the card.
      remarks: What else a reader of the card has to know, a list item.
    Raises:
      UsageError: Not one of `run` and `weights`, or a run without segmenters.
    """
    console = plain_console()
    checkpoint = last_weights(run, weights)
    where = {"data_dir": data_dir, "manual_dir": manual_dir}
    train = load_source(data, "train", **where)
    validation = load_source(data, "validation", **where)
    raw = load_segmenter(checkpoint)
    heads = raw.spec.heads
    console.print(f"{checkpoint}: thresholds on {per_modality} training images of each modality")
    trained = load_weights(checkpoint)[1]["card"]
    # What the training was weighted by, so that ten images do not decide for hundreds.
    weights_of = trained["config"]["data"].get("modality_weights")
    cases = predict_cases(raw, train, per_modality=per_modality)
    held_out = predict_cases(raw, validation)
    separation, chosen = [], {}
    for wanted in HEAD_SETS:
        thresholds, on_train = tune_thresholds(cases, heads, wanted, modality_weights=weights_of)
        on_validation = score_cases(held_out, heads, wanted, thresholds)
        separation.append({"heads": wanted, **thresholds, "train": on_train, **on_validation})
        console.print(wanted, thresholds, on_train, on_validation)
        if wanted == heads:
            chosen = thresholds
    spec = dataclasses.replace(
        raw.spec, name=name, diameter_px=round(mean_diameter_px(train), 1), **chosen
    )
    segmenter = Segmenter(spec, raw.variables)
    scores = summary(list(score_source(segmenter, validation, tta=TTA)), TTA)
    facts = {
        "name": name,
        "thresholds": chosen,
        "n_train": len(train),
        "n_validation": len(validation),
        "data_sha256": {"train": content_hash(train), "validation": content_hash(validation)},
        "per_modality": per_modality,
        "modality_weights": weights_of,
        "separation": separation,
        "otsu": otsu_scores(validation),
        "validation": scores,
    }
    released = out / f"{name}.safetensors"
    save_segmenter(released, segmenter, card={**trained, **facts}, half=True)
    facts["sha256"] = file_sha256(released)
    facts["run"] = {
        "steps": trained["step"],
        "n_parameters": count_parameters(raw.variables),
        "megabytes": released.stat().st_size / 1e6,
        "hours": hours,
        "diameter_px": spec.diameter_px,
        "remarks": f"{remarks}\n" if remarks else "",
    }
    write_json(out / f"{name}.json", facts)
    (out / f"{name}.md").write_text(card_text(facts), encoding="utf-8")
    if run is not None:
        (out / f"{name}_training.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    console.print(f"wrote {released}; its SHA-256 belongs into weights/registry.py:")
    console.print(facts["sha256"])


def last_weights(run: Path | None, weights: Path | None) -> Path:
    """The weights file to release: a given one, or the last that a run exported.

    Raises:
      UsageError: Not exactly one of the two is given, or there is no such file.
    """
    if (run is None) == (weights is None):
        raise UsageError("release: give one of --run and --weights")
    found = [weights] if weights else sorted((run or Path()).glob("segmenters/step_*.safetensors"))
    if not found or not found[-1].is_file():
        raise UsageError(f"{weights or run}: no weights to release here")
    return found[-1]


def otsu_scores(source: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """mAP_DSB of Otsu's threshold and a watershed on every modality: what no training gives."""
    found: dict[str, list[Any]] = {}
    for row in range(len(source)):
        record = source[row]
        scores = evaluate_labels(np.asarray(record["labels"]), segment_otsu(record["image"]))
        found.setdefault(str(record["modality"]), []).append(scores)
    return {name: summarise(scores).ap_dsb2018 for name, scores in sorted(found.items())}
