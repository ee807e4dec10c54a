"""Figures for the page and for a paper: drawn once, inline as SVG and as files beside the page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from cellml.report.charts import chart, fix_layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILES_DPI = 144
"""Of the PNG, and of points within an SVG that are too many to be kept as shapes."""


def publish(
    draw: Callable[[Sequence["Axes"]], None],
    stem: Path,
    *,
    label: str,
    size_in: tuple[float, float],
    columns: int = 1,
    share_y: bool = False,
) -> Markup:
    """Draws a row of axes into `<stem>.png` and `<stem>.svg`, on white, and for the page.

    Args:
      draw: Gets the axes, from left to right.
      stem: Path without suffix; its folder is made if needed.
      label: What the figure shows, for those who cannot see it.
      size_in: Width and height in inches of 72 CSS pixels.
      columns: Number of axes.
      share_y: All axes have one scale.

    Returns:
      An inline SVG element that takes the page's colours.
    """
    import matplotlib as mpl

    def draw_and_save(axes: Sequence["Axes"]) -> None:
        figure = axes[0].get_figure(root=True)  # before `draw` may remove the axes
        assert figure is not None
        draw(axes)
        _save(figure, stem)

    with mpl.rc_context({"savefig.dpi": FILES_DPI}):
        return chart(draw_and_save, columns=columns, label=label, size_in=size_in, share_y=share_y)


def _save(figure: "Figure", stem: Path) -> None:
    """Writes both files, each whole or not at all; equal figures give equal files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    fix_layout(figure)  # what was laid out once holds for all three files
    for suffix in (".png", ".svg"):
        part = stem.with_name(f"{stem.name}.part{suffix}")
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        figure.savefig(part, facecolor="white", metadata=metadata)
        part.replace(stem.with_name(f"{stem.name}{suffix}"))
