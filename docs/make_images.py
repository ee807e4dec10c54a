"""Draws the README's pictures anew, with the model that ships: `python docs/make_images.py`.

Only images that may be shown are used: simulated fields, and the tissue section in scikit-image.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

from cellml import platform

platform.configure()

from matplotlib.cm import ScalarMappable  # noqa: E402
from matplotlib.colors import Normalize  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from cellml.demo.fields import Field, simulated_fields, tissue_section  # noqa: E402
from cellml.demo.predictions import MEAN, Prediction, predict_field  # noqa: E402
from cellml.demo.settings import DemoSize  # noqa: E402
from cellml.report import theme  # noqa: E402
from cellml.report.panels import outline_rings  # noqa: E402
from cellml.tasks.semantic import load_segmenter  # noqa: E402

HERE = Path(__file__).parent
SPREAD_MAX = 0.3
SIDE_PX = 256


def crowded_field() -> Field:
    """Of a few simulated fluorescence fields the one with most nuclei."""
    size = DemoSize(fields=8, training_fields=1, side_px=SIDE_PX)
    with TemporaryDirectory() as folder:
        fields = simulated_fields(Path(folder), size)
    grey = [field for field in fields if field.image.shape[-1] == 1 and field.truth is not None]
    return max(grey, key=lambda field: field.truth.max() if field.truth is not None else 0)


def draw_segmentation(predictions: dict[str, Prediction], path: Path) -> None:
    """Image, nuclei and uncertainty of each prediction, one row each.

    Args:
      predictions: By heading of the row.
      path: A `.png` file.
    """
    figure = Figure(figsize=(10.6, 7.0), layout="constrained", dpi=110)
    axes = figure.subplots(len(predictions), 3, squeeze=False)
    for row, (heading, prediction) in zip(axes, predictions.items(), strict=True):
        shown = prediction.field.shown
        found = prediction.labels[MEAN]
        row[0].imshow(shown)
        row[0].set_ylabel(heading, fontsize=12)
        row[1].imshow(shown)
        for rings in outline_rings(found).values():
            for ring in rings:
                # Pixel centres lie at whole numbers in Matplotlib.
                x, y = [*ring[:, 0] - 0.5, ring[0, 0] - 0.5], [*ring[:, 1] - 0.5, ring[0, 1] - 0.5]
                row[1].plot(x, y, color="black", lw=1.9, alpha=0.5)
                row[1].plot(x, y, color=theme.PREDICTION, lw=1.1)
        row[1].set_title(f"{found.max()} nuclei", fontsize=12)
        row[2].imshow(theme.paint(prediction.spread, theme.UNCERTAINTY_MAP, high=SPREAD_MAX))
        for axis in row:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_xlim(-0.5, shown.shape[1] - 0.5)
            axis.set_ylim(shown.shape[0] - 0.5, -0.5)
            axis.spines[:].set_visible(False)
    axes[0][0].set_title("image", fontsize=12)
    axes[0][2].set_title("where the model is unsure", fontsize=12)
    scale = ScalarMappable(Normalize(0, SPREAD_MAX), theme.UNCERTAINTY_MAP)
    bar = figure.colorbar(scale, ax=axes[:, 2], shrink=0.6, extend="max")
    bar.set_label("standard deviation of the probability")
    part = path.with_name(f"{path.stem}.part.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(part)
    part.replace(path)


def main() -> None:
    """Parses the options and draws."""
    parser = argparse.ArgumentParser(description="Draws the README's pictures anew.")
    parser.add_argument("--model", default="nuclei", help="shipped model, or weights file")
    parser.add_argument("--out", type=Path, default=HERE / "images", help="folder to write to")
    given = parser.parse_args()
    model = load_segmenter(given.model)
    tissue = tissue_section(SIDE_PX)
    draw_segmentation(
        {
            "fluorescence (simulated)": predict_field(model, crowded_field()),
            "tissue (colon, IHC)": predict_field(model, tissue),
        },
        given.out / "segmentation.png",
    )
    print(f"wrote {given.out / 'segmentation.png'}")


if __name__ == "__main__":
    main()
