"""The study of test-time augmentation in words: summary.txt."""

from collections.abc import Mapping
from typing import Any

from cellml.commands.tta_study_scores import EVERY

NOTES = """\
How to read it
  none, TTA, dilated  mean score over the images: without TTA; with TTA (mean of the de-augmented
                      probability maps); without TTA, every nucleus dilated by one pixel.{merge}
  change              mean of (TTA - none) over the images, with its 95 % interval (bootstrap over
                      images), the median, and the share of images made worse.
  dilation            mean of (dilated - none): the baseline. A gain that it reaches as well is
                      no evidence for TTA.
  IoU is that of the foreground; mAP_DSB the mean AP of an image over IoU .50 to .95 (preset
  {preset}).
  Rows "all checkpoints" count every image once, with its mean over the checkpoints.

Files
  per_image.csv/.parquet   one row per checkpoint and image: scores of the three methods, changes
  summary.json             all numbers of this page, and those by modality
  epochs_iou.png/.svg, epochs_ap_dsb2018.png/.svg   mean score and change per checkpoint
{deltas}  cases.png/.svg           last checkpoint of every group; best, median and worst change
"""

MERGE = """
                      Label images are merged object by object instead for {groups}."""
DELTAS = """\
  deltas_ap_dsb2018.png/.svg   groups whose objects are merged: change of every image, by checkpoint
"""


def summary_text(result: Mapping[str, Any]) -> str:
    """The result of the study as plain text with tables.

    Args:
      result: What summary.json holds.

    Returns:
      Lines of text, with notes on how to read them.
    """
    settings = result["settings"]
    lines = [
        f"Test-time augmentation: {settings['tta']} against none",
        f"{settings.get('n_images', '?')} images of {settings.get('data', 'given records')}"
        + (f"/{settings['split']}" if settings.get("split") else ""),
        "",
    ]
    for score, name in (("iou", "IoU of the foreground"), ("ap_dsb2018", "mAP_DSB")):
        lines += [name, _line(_HEADER)]
        for entry in result["checkpoints"]:
            if entry["modality"] == EVERY:
                lines.append(_line(_cells(entry, entry["checkpoint"], score)))
        for entry in result["groups"]:
            if entry["modality"] != EVERY or entry["n_checkpoints"] > 1:
                part = "" if entry["modality"] == EVERY else f", {entry['modality']}"
                lines.append(_line(_cells(entry, f"all checkpoints{part}", score)))
        undefined = max(entry[score]["n_undefined"] for entry in result["checkpoints"])
        if undefined:
            lines.append(f"  (up to {undefined} images without a defined score are left out)")
        lines.append("")
    groups = result.get("instance_groups")
    notes = NOTES.format(
        preset=settings["preset"],
        merge=MERGE.format(groups=", ".join(groups)) if groups else "",
        deltas=DELTAS if groups else "",
    )
    return "\n".join(lines) + "\n" + notes


_HEADER = (
    "group", "checkpoint", "images", "none", "TTA", "dilated", "change", "95 % interval", "median",
    "worse", "dilation",
)  # fmt: skip
_WIDTHS = (20, 30, 6, 7, 7, 7, 9, 20, 9, 6, 9)


def _cells(entry: Mapping[str, Any], checkpoint: str, score: str) -> tuple[str, ...]:
    found = entry[score]
    if found["delta"] is None:
        return (entry["group"], checkpoint, "0", *["-"] * (len(_HEADER) - 3))
    delta = found["delta"]
    return (
        entry["group"],
        checkpoint,
        str(entry["n_images"] - found["n_undefined"]),
        *(f"{found[method]:.4f}" for method in ("none", "tta", "dilated")),
        f"{delta['mean']:+.4f}",
        f"{delta['low95']:+.4f} to {delta['high95']:+.4f}",
        f"{delta['median']:+.4f}",
        f"{delta['share_worse']:.0%}",
        f"{found['delta_dilated']['mean']:+.4f}",
    )


def _line(cells: tuple[str, ...]) -> str:
    """Names to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    ]
    return ("  " + " ".join(padded)).rstrip()
