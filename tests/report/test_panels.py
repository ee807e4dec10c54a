import base64
import re
import xml.etree.ElementTree as ET
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from cellml.report import theme
from cellml.report.panels import (
    ColourKey,
    Outlines,
    Panel,
    displayed,
    figure_rows,
    outline_paths,
    panel_svg,
    png_uri,
)


def ellipse(shape, centre, radii) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def polygon(path: str) -> np.ndarray:
    """Corners (x, y) of a path with one ring."""
    return np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), float)


def area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def centre(corners: np.ndarray) -> np.ndarray:
    """Centre of gravity of a polygon."""
    following = np.roll(corners, -1, axis=0)
    cross = corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]
    return ((corners + following) * cross[:, None]).sum(0) / (3 * cross.sum())


def pixels(uri: str) -> np.ndarray:
    kind, data = uri.split(",", 1)
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))).convert("RGB"))


def test_an_outline_lies_around_its_nucleus():
    mask = ellipse((40, 60), (12, 41), (7, 11))
    corners = polygon(outline_paths(mask.astype(np.int32) * 5)[5])
    assert area(corners) == pytest.approx(mask.sum(), rel=0.04)
    # One unit per pixel; the centre of pixel (y, x) is (x + 0.5, y + 0.5).
    assert centre(corners) == pytest.approx([41.5, 12.5], abs=0.15)
    assert corners.min(0) == pytest.approx([30, 5], abs=0.8)
    assert corners.max(0) == pytest.approx([53, 20], abs=0.8)


def test_every_nucleus_has_an_outline_even_one_pixel_at_the_border():
    labels = np.zeros((9, 12), np.int32)
    labels[0, 0], labels[4:7, 3:9], labels[8, 11] = 1, 2, 7
    paths = outline_paths(labels)
    assert sorted(paths) == [1, 2, 7]
    assert all(len(polygon(path)) >= 4 for path in paths.values())


def test_pixels_survive_as_png():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)
    grey = np.repeat(colour[..., :1], 3, axis=-1)
    for image in (colour, grey):
        np.testing.assert_array_equal(pixels(png_uri(image)), image)


def test_colour_is_shown_as_it_is_and_grey_is_stretched():
    colour = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    assert displayed(colour) is colour
    ramp = np.linspace(1000, 4000, 200).astype(np.uint16).reshape(10, 20, 1)
    shown = displayed(ramp)
    assert shown.shape == (10, 20, 3)
    assert (shown.min(), shown.max()) == (0, 255)
    assert (np.diff(shown[..., 0].ravel().astype(int)) >= 0).all()
    assert (displayed(np.full((4, 4, 1), 7, np.uint8)) == 0).all()


def test_a_panel_holds_image_outlines_notes_and_scale():
    labels = ellipse((40, 60), (12, 41), (7, 11)).astype(np.int32)
    layer = Outlines(labels, theme.TRUTH, fills={1: "#123456"}, notes={1: "area < 300 px & round"})
    panel = Panel(np.zeros((40, 60, 3), np.uint8), "A & B", [layer], scale_bar_px=20)
    tree = ET.fromstring(str(panel_svg(panel)))
    assert tree.get("viewBox") == "0 0 60 40"
    assert [e.text for e in tree.iter("title")] == ["area < 300 px & round"]
    assert [e.get("fill") for e in tree.iter("path")] == ["#123456"]
    assert {e.get("stroke") for e in tree.iter("g")} >= {theme.TRUTH}
    assert [e.text for e in tree.iter("text")] == ["20 px"]
    bar = [e for e in tree.iter("rect") if e.get("fill") == "#fff"]
    assert [e.get("width") for e in bar] == ["20"]


def test_an_image_without_nuclei_is_a_panel_too():
    layer = Outlines(np.zeros((4, 6), np.int32), theme.TRUTH)
    ET.fromstring(str(panel_svg(Panel(np.zeros((4, 6, 3), np.uint8), "", [layer]))))


def test_rows_keep_their_order_and_legend():
    panels = [Panel(np.full((3, 4, 3), i, np.uint8), f"panel {i}") for i in range(4)]
    keys = [
        ColourKey("truth", theme.TRUTH),
        ColourKey("p", colour_map="viridis", low="0", high="1"),
    ]
    body = figure_rows([("upper", panels[:3]), ("", panels[3:])], keys)
    tree = ET.fromstring(f"<div>{body}</div>")
    titles = [e.text for e in tree.iter("p")]
    assert titles == ["upper", "panel 0", "panel 1", "panel 2", "panel 3"]
    shown = [pixels(e.get("href", ""))[0, 0, 0] for e in tree.iter("image")]
    assert shown == [0, 1, 2, 3]
    assert [e.get("style") for e in tree.iter("div") if e.get("class") == "panels"] == [
        "--columns: 3",
        "--columns: 1",
    ]
    assert len(list(tree.iter("li"))) == 2


def test_painted_numbers_run_from_the_first_colour_to_the_last():
    painted = theme.paint(np.array([[-1.0, 0.0, 2.0, 9.0]]), "viridis", low=0.0, high=2.0)
    first, last = theme.hex_colour("viridis", 0.0), theme.hex_colour("viridis", 1.0)
    found = ["#" + bytes(pixel.tolist()).hex() for pixel in painted[0]]
    assert found == [first, first, last, last]
    assert theme.css_gradient("viridis", stops=3).startswith(
        f"linear-gradient(to right, {first}, #"
    )


def test_labels_have_their_own_colours_and_background_is_black():
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    painted = theme.label_picture(labels).reshape(12, 3)
    assert (painted[0] == 0).all()
    assert len({tuple(colour) for colour in painted.tolist()}) == 12
    neighbours = np.abs(np.diff(painted[1:].astype(int), axis=0)).max(1)
    assert neighbours.min() > 60
