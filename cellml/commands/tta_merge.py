"""`cellml tta-merge`: merges label images that any segmenter made of transformed copies."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Int
from pyarrow import csv
from rich.console import Console
from skimage.segmentation import expand_labels

from cellml.commands.evaluate_masks import NAMED_MAX, labels_by_stem
from cellml.commands.tta_folders import open_versions, read_versions, whole_folder
from cellml.data.images import read_labels
from cellml.data.writers import atomic, write_json, write_labels
from cellml.errors import UsageError, UserError
from cellml.metrics.bootstrap import paired_bootstrap
from cellml.metrics.scores import evaluate_labels
from cellml.tta import InstanceMerge, merge_instances_host

METHODS = {
    "none": "without TTA (identity)",
    "tta": "with TTA (merged)",
    "dilated": "without TTA, dilated by 1 px",
}

OBJECT_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("label", pa.int64()),
        ("centroid_y_px", pa.float64()),
        ("centroid_x_px", pa.float64()),
        ("area_px", pa.int64()),
        ("vote_share", pa.float64()),
        ("mean_iou", pa.float64()),
    ]
)
"""Columns of objects.csv. `vote_share` and `mean_iou` are those of `cellml.tta.InstanceMerge`."""


def run(
    folder: Path,
    *,
    out: Path,
    truth: Path | None = None,
    tta: str | None = None,
    options: Mapping[str, Any] | None = None,
    preset: str = "kaggle",
    seed: int = 0,
    console: Console,
) -> int:
    """Merges the versions of every image; with a truth, says what that gained.

    Args:
      folder: One folder of label images per transform, see `cellml.commands.tta_folders`.
      out: New or empty folder for `<stem>_labels.tif`, objects.csv and, with a truth, scores.json;
        it is there in whole afterwards, or not at all.
      truth: Folder of true label images, matched by stem.
      tta: Preset whose transforms are merged; None takes what is there.
      options: Of `cellml.tta.merge_instances_host`.
      preset: Definition of the score, see `cellml.metrics.scores`.
      seed: Of the bootstrap over images.
      console: Where to print.

    Returns:
      Exit code 0.

    Raises:
      UsageError: A folder, a transform or an image is missing, or an option is out of range.
      UserError: A file is no label image, or has another shape than it should.
    """
    versions = open_versions(folder, tta=tta)
    if len(versions.transforms) < 2:
        raise UsageError(f"--tta {tta}: nothing to merge")
    true_files = _true_files(truth, versions.files) if truth is not None else {}
    merge = dict(options or {})
    rows: list[dict[str, Any]] = []
    scores: dict[str, dict[str, float]] = {}
    with whole_folder(out) as temporary:
        for stem in versions.files:
            labels = read_versions(versions, stem)
            try:
                merged = merge_instances_host(labels, **merge)
            except ValueError as error:
                raise UsageError(str(error)) from error
            write_labels(temporary / f"{stem}_labels.tif", np.asarray(merged.labels))
            rows += object_rows(stem, merged)
            if stem in true_files:
                scores[stem] = _score(true_files[stem], labels[0], merged, preset)
        with atomic(temporary / "objects.csv") as path:
            csv.write_csv(pa.Table.from_pylist(rows, schema=OBJECT_SCHEMA), path)
        result = _summary(scores, preset, seed)
        if truth is not None:
            names = [t.name for t in versions.transforms]
            write_json(temporary / "scores.json", result | {"transforms": names, "merge": merge})
    lines = [
        f"{len(versions.files)} images, {len(versions.transforms)} versions each, "
        f"{len(rows)} objects; labels and objects.csv in {out}"
    ]
    for line in [*lines, *(_score_lines(result) if truth is not None else ())]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


def _true_files(truth: Path, stems: Mapping[str, Any]) -> dict[str, Path]:
    """The truth of every stem; truths of other images are left out."""
    found = labels_by_stem(truth)
    missing = [stem for stem in stems if stem not in found]
    if missing:
        more = f" and {len(missing) - NAMED_MAX} more" if len(missing) > NAMED_MAX else ""
        raise UsageError(f"{truth}: no truth of {', '.join(missing[:NAMED_MAX])}{more}")
    return {stem: found[stem] for stem in stems}


def object_rows(image: str, merged: InstanceMerge) -> list[dict[str, Any]]:
    """One row an object.

    Args:
      image: What goes into the column `image`.
      merged: From the host merge, without padding.

    Returns:
      Rows with the columns of `OBJECT_SCHEMA`, by label.
    """
    labels = np.asarray(merged.labels)
    count = int(merged.n_objects)
    y, x = np.nonzero(labels)
    index = labels[y, x]
    area = np.bincount(index, minlength=count + 1)
    sums = [np.bincount(index, weights=axis, minlength=count + 1) for axis in (y, x)]
    return [
        {
            "image": image,
            "label": i,
            "centroid_y_px": sums[0][i] / area[i],
            "centroid_x_px": sums[1][i] / area[i],
            "area_px": int(area[i]),
            "vote_share": float(merged.vote_share[i]),
            "mean_iou": float(merged.mean_iou[i]),
        }
        for i in range(1, count + 1)
    ]


def _score(
    path: Path, identity: Int[np.ndarray, "h w"], merged: InstanceMerge, preset: str
) -> dict[str, float]:
    """mAP_DSB of one image by every method."""
    true = read_labels(path)
    if true.shape != identity.shape:
        raise UserError(
            f"{path}: {true.shape[0]} x {true.shape[1]} px found, {identity.shape[0]} x "
            f"{identity.shape[1]} expected as of its predictions"
        )
    found = {
        "none": identity,
        "tta": np.asarray(merged.labels),
        "dilated": np.asarray(expand_labels(identity, distance=1)),
    }
    scores = {name: evaluate_labels(true, each, preset=preset) for name, each in found.items()}
    return {name: score.ap_dsb2018 for name, score in scores.items()}


def _summary(scores: Mapping[str, Mapping[str, float]], preset: str, seed: int) -> dict[str, Any]:
    """What scores.json holds; an image counts where every method has a score."""
    defined = [each for each in scores.values() if np.isfinite(list(each.values())).all()]
    result: dict[str, Any] = {
        "preset": preset,
        "seed": seed,
        "n_images": len(scores),
        "n_undefined": len(scores) - len(defined),
        "ap_dsb2018": {
            name: float(np.mean([each[name] for each in defined])) if defined else None
            for name in METHODS
        },
        "gain_ap_dsb2018": {},
        # JSON has no NaN: an undefined score is null.
        "images": {
            stem: {name: value if np.isfinite(value) else None for name, value in each.items()}
            for stem, each in scores.items()
        },
    }
    for name in ("tta", "dilated") if defined else ():
        gains = [each[name] - each["none"] for each in defined]
        gain = paired_bootstrap(seed, gains)
        result["gain_ap_dsb2018"][name] = {
            "mean": gain.mean,
            "median": float(np.median(gains)),
            "low95": gain.low,
            "high95": gain.high,
            "share_worse": gain.share_worse,
        }
    return result


def _score_lines(result: Mapping[str, Any]) -> Iterator[str]:
    count = result["n_images"] - result["n_undefined"]
    yield f"mAP_DSB, mean over {count} images, preset {result['preset']}:"
    for name, words in METHODS.items() if count else ():
        line = f"  {result['ap_dsb2018'][name]:.4f}  {words}"
        if gain := result["gain_ap_dsb2018"].get(name):
            line += (
                f": {gain['mean']:+.4f} (95 % {gain['low95']:+.4f} to {gain['high95']:+.4f}), "
                f"median {gain['median']:+.4f}, {gain['share_worse']:.0%} of the images worse"
            )
        yield line
    if result["n_undefined"]:
        yield f"  ({result['n_undefined']} images without a defined score are left out)"
