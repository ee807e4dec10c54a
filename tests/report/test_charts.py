import xml.etree.ElementTree as ET

import pytest

from cellml.report import charts, theme

COLOURS = {"Otsu": theme.GREY, "Model": theme.BLUE}
DRAWN = {
    "dots": lambda: charts.score_dots(
        {"A": {"Otsu": [0.2, 0.31], "Model": [0.5, 0.75]}, "B": {"Otsu": [0.1], "Model": [1.0]}},
        COLOURS,
        xlabel="mAP",
        label="scores & more",
    ),
    "lines": lambda: charts.lines(
        {"A": {"Otsu": ([1.0, 2.0, 3.0], [0.1, 0.4, 0.2]), "Model": ([1.0, 3.0], [0.5, 0.6])}},
        COLOURS,
        xlabel="step",
        ylabels=["loss"],
        label="curves",
        ylim={"A": (0.0, 1.0)},
    ),
    "deltas": lambda: charts.deltas({"A": [0.25, -0.05], "B": [0.1]}, ylabel="change", label="d"),
    "shares": lambda: charts.shares(
        [("P", "spread", "wrong", [("0-1", 0.034, 12_345), ("1-2", 0.5, 20)])], label="s"
    ),
}


def words(svg: str) -> list[str]:
    return [(e.text or "").strip() for e in ET.fromstring(svg).iter("text")]


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_part_of_the_page(name):
    svg = str(DRAWN[name]())
    tree = ET.fromstring(svg)
    assert tree.tag == "svg"
    assert tree.get("aria-label")
    assert tree.get("viewBox")
    assert tree.get("width") is None
    assert len(list(tree.iter("path"))) > 5
    assert "currentColor" in svg
    assert theme.INK not in svg
    assert "<style" not in svg
    assert "DejaVu" not in svg


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_the_same_each_time(name):
    assert DRAWN[name]() == DRAWN[name]()


def test_dots_show_means_groups_and_methods():
    found = words(str(DRAWN["dots"]()))
    for word in ("A", "B", "Otsu", "Model", "mAP", "0.26", "0.62", "0.10", "1.00"):
        assert word in found


def test_deltas_are_coloured_by_their_sign():
    svg = str(charts.deltas({"A": [0.2, 0.1]}, ylabel="y", label="up"))
    assert theme.BLUE in svg
    assert theme.VERMILLION not in svg
    assert theme.VERMILLION in str(DRAWN["deltas"]())
    assert "mean +0.100" in words(str(DRAWN["deltas"]()))


def test_bars_show_percent_and_sample_size():
    found = words(str(DRAWN["shares"]()))
    assert "3.4 %" in found
    assert "50 %" in found
    assert "n = 12\N{THIN SPACE}345" in found
