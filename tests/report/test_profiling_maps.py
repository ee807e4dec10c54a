"""Maps of wells: who gets which colour, densities, and files that repeat."""

import numpy as np
import pytest

from cellml.report.embeddings import embed_pca
from cellml.report.profiling_maps import (
    CATEGORIES,
    NOTHING,
    OTHER,
    QUIET,
    density,
    draw_maps,
    group_batches,
    group_mechanisms,
    linear_width,
)
from cellml.report.profiling_results import CONTROL, WellMaps


def test_frequent_mechanisms_get_colours_and_the_rest_is_quiet():
    names = [f"m{k}" for k in range(9) for _ in range(9 - k)]  # m0 nine times ... m8 once
    texts = np.array([*names, "m8|m1", "", CONTROL])
    found = group_mechanisms(texts)
    assert list(found.colours) == [*(f"m{k}" for k in range(7)), CONTROL, OTHER, NOTHING]
    assert found.colours["m0"] == CATEGORIES[0]
    assert found.colours[OTHER] == QUIET[OTHER]
    assert found.group[-3:].tolist() == ["m1", NOTHING, CONTROL]  # m8|m1 is one of m1
    assert found.group[names.index("m7")] == OTHER


def test_many_batches_lie_along_a_colour_map():
    few = group_batches(np.array(["b", "a", "b"]))
    assert few.colours == {"a": CATEGORIES[0], "b": CATEGORIES[1]}
    many = group_batches(np.array([f"{k:02d}" for k in range(12)]))
    assert len(set(many.colours.values())) == 12


@pytest.mark.parametrize("width", [None, 0.5])
def test_density_has_area_one_on_the_axis_as_drawn(width):
    values = np.random.default_rng(0).normal(size=200)
    found = density(values, (-8.0, 8.0), linear_width=width)
    assert found is not None
    x, height = found
    if width is not None:
        x = np.arcsinh(x / width)
    assert np.trapezoid(height, x) == pytest.approx(1, abs=0.01)
    assert density(np.array([1.0, 1.0, 2.0, 1.0]), (0.0, 3.0)) is None


def test_only_long_tails_are_compressed():
    values = np.random.default_rng(0).normal(size=400)
    assert linear_width(values) is None
    assert linear_width(np.zeros(10)) is None
    width = linear_width(np.append(values, np.full(20, 90.0)))
    assert width == pytest.approx(1.35, abs=0.3)  # distance of the quartiles


def test_a_figure_holds_its_words_and_repeats(tmp_path):
    rng = np.random.default_rng(2)
    stages = [rng.normal(size=(40, 5)) for _ in range(2)]
    stages[1][:5] *= 1000  # a long tail
    wells = WellMaps(
        batches=np.array(["one", "two"] * 20),
        mechanisms=np.array([CONTROL, "", "a kinase with a very long name indeed", "b"] * 10),
        maps={"PCA": tuple(embed_pca(stage) for stage in stages)},
        n_wells=40,
    )
    texts = []
    for name in ("first", "second"):
        page = draw_maps(wells, "PCA", tmp_path / name, label="a map")
        texts.append((tmp_path / f"{name}.svg").read_text())
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert page.startswith('<svg class="chart"')
    assert texts[0] == texts[1]
    for words in ("before sphering, by batch", "after sphering, by mechanism", "no mechanism"):
        assert words in texts[0]
    assert "long name indeed" not in texts[0]  # it would not fit
    assert not list(tmp_path.glob("*.part*"))
    draw_maps(
        wells._replace(maps={"PCA": wells.maps["PCA"][:1]}), "PCA", tmp_path / "raw", label="a map"
    )
    assert "after sphering" not in (tmp_path / "raw.svg").read_text()
