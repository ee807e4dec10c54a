"""The model card of a release, written from the facts that `cellml.commands.release` measured."""

from collections.abc import Mapping
from typing import Any

SECTIONS = ("fluorescence", "tissue", "brightfield", "all")


def score_table(facts: Mapping[str, Any]) -> str:
    """Markdown table of the validation scores by modality, without and with TTA."""
    lines = [
        "| modality | images | nuclei | Otsu + watershed | no TTA | `dissertation6` | `d4` | gain of `d4` (95 % interval) | images worse | AP.5 `d4` | PQ `d4` |",  # noqa: E501
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SECTIONS:
        rows = facts["validation"][name]
        best, gain = rows["d4"], rows["d4"]["gain_ap_dsb2018"]
        otsu = facts["otsu"].get(name)
        lines.append(
            f"| {name} | {best['n_images']} | {best['n_true']} "
            f"| {'' if otsu is None else format(otsu, '.3f')} "
            f"| {rows['none']['ap_dsb2018']:.3f} | {rows['dissertation6']['ap_dsb2018']:.3f} "
            f"| **{best['ap_dsb2018']:.3f}** "
            f"| {gain['mean']:+.3f} ({gain['low95']:+.3f} to {gain['high95']:+.3f}) "
            f"| {gain['share_worse']:.0%} | {best['ap_50']:.3f} | {best['pq']:.3f} |"
        )
    return "\n".join(lines)


def separation_table(facts: Mapping[str, Any]) -> str:
    """Markdown table: ways of separating nuclei, on one network's predictions without TTA."""
    lines = [
        "| maps used | fluorescence | tissue | brightfield | mean |",
        "|---|---|---|---|---|",
    ]
    for row in facts["separation"]:
        scores = " | ".join(
            f"{row[k]:.3f}" for k in ("fluorescence", "tissue", "brightfield", "mean")
        )
        lines.append(f"| {' + '.join(row['heads'])} | {scores} |")
    return "\n".join(lines)


def card_text(facts: Mapping[str, Any]) -> str:
    """The whole card in Markdown.

    Args:
      facts: What `release.main` writes to `<name>.json`.
    Returns:
      Markdown.
    """
    name, run = facts["name"], facts["run"]
    thresholds = ", ".join(f"`{key}` {value:g}" for key, value in facts["thresholds"].items())
    weights = ", ".join(f"{k} {v:g}" for k, v in (facts["modality_weights"] or {}).items())
    return f"""# Model card: `{name}`

A U-Net that finds nuclei in fluorescence images, stained tissue sections and grey bright-field
images. {run["n_parameters"]:,} parameters, {run["megabytes"]:.1f} MB (float16). Input: one channel
or RGB, any bit depth; intensities between the percentiles 1 and 99.8 are mapped to [0, 1]. Output:
three maps a pixel (foreground, contact between nuclei, normalised distance to the edge), from which
a watershed makes instances.

## Scores

mAP over IoU thresholds .50 to .95, preset `kaggle` (strict, mean over images), whole images, on the
{facts["n_validation"]} validation images:

{score_table(facts)}

The same figures again, from a folder with BBBC038 (stage1_train, in Kaggle's layout or as images/,
labels/, index.csv):

    cellml evaluate --model {name} --data dsb2018 --split validation --manual-dir DIR \\
        --tta none --tta dissertation6 --tta d4

`nuclei.json` has every figure of this page. The validation part is small (13 tissue and 4
bright-field images): mind the intervals.

## Which maps separate nuclei best

One network, without TTA, validation images; the thresholds of each row were chosen on training
images:

{separation_table(facts)}

## Training

- Data: BBBC038v1 stage1_train (2018 Data Science Bowl), CC0, with the community's fixes;
  {facts["n_train"]} training images (fluorescence, tissue, grey bright-field). SHA-256 over ids,
  pixels and labels: train `{facts["data_sha256"]["train"]}`, validation
  `{facts["data_sha256"]["validation"]}`.
- Validation part: by the SHA-1 of the id of a group's first image; near-duplicates and adjacent
  tiles of one field are one group and stay on one side (`cellml.data.splits`).
- Recipe: `configs/unet_nuclei.py`, stored in the weights file as well. {run["steps"]:,} steps of 8
  crops of 256 x 256 px, {run["hours"]:.1f} hours on two CPU cores that other work shared
  (no GPU was at hand). Log: `{name}_training.jsonl`.
{run["remarks"]}- Post-processing thresholds ({thresholds}) were chosen on at most
  {facts["per_modality"]} training images of each modality, whose scores were weighted
  ({weights or "all alike"}). Checkpoint: the last one, an exponential moving average. No threshold
  was chosen on validation images.

## Limits

- Nuclei of about 8 to 80 px in diameter; the median in training is {run["diameter_px"]:g} px.
  `--diameter-px` rescales others.
- Not trained on: phase contrast, DIC, 3D stacks, whole cells, immunohistochemistry, more than
  one stain set of tissue. Tissue labels in the data are rough, and so are the outlines there.
- Masks do not overlap.

Licence of the weights: CC0 data, Apache-2.0 as the rest of cellml. SHA-256: `{facts["sha256"]}`.
"""
