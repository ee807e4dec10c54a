"""Curves of a training run, from the records of its `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HIDDEN = ("examples_per_s", "grad_norm", "learning_rate")
"""Quantities that are logged but would drown the curves."""


def plot_curves(records: Sequence[Mapping[str, Any]], stem: Path) -> None:
    """Draws one panel per quantity, training and evaluation together, to PNG and SVG.

    Args:
      records: Lines of a `metrics.jsonl`: `step` and `<group>/<name>` entries; null for a value
        that is not finite.
      stem: Path without suffix; `.png` and `.svg` are added, written whole or not at all.
    """
    panels = curve_panels(records)
    if not panels:
        return
    # Figure instead of pyplot: no global state, no display, safe in a thread.
    from matplotlib.figure import Figure

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    colors = {"train": "#888888", "eval": "#0b6e99"}
    for axis, (name, groups) in zip(axes.flat, panels.items(), strict=False):
        for group, points in groups.items():
            steps, values = zip(*points, strict=True)
            marker = "o" if len(points) < 40 else None
            axis.plot(
                steps, values, label=group, color=colors.get(group), marker=marker, markersize=3
            )
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=7, frameon=False)
    for suffix in (".png", ".svg"):
        part = stem.with_name(f"{stem.name}.part{suffix}")
        figure.savefig(part, dpi=120)
        part.replace(stem.with_suffix(suffix))


def curve_panels(
    records: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Sorts records into `{name: {group: [(step, value), ...]}}`, without what is not finite."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in records:
        for entry, value in record.items():
            group, _, name = entry.partition("/")
            if not name or value is None or name in HIDDEN:
                continue
            panels.setdefault(name, {}).setdefault(group, []).append((record["step"], value))
    return panels
