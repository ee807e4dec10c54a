"""The tour at smoke size with a tiny network of random weights, from command to report."""

import json
import os

import pytest

from cellml.commands import demo
from cellml.errors import UsageError
from tests.report.page_checks import outside_resources, parse, repeated_ids, text_of


@pytest.fixture(scope="module")
def weights(tiny_weights):
    return tiny_weights(preset="plain")


@pytest.fixture(scope="module")
def tour(weights, tmp_path_factory):
    """Folder and printed lines of one run, from an empty folder."""
    here, lines = tmp_path_factory.mktemp("here"), []
    before = os.getcwd()
    os.chdir(here)
    try:
        assert demo.run("runs/demo", model=weights, size="smoke", say=lines.append) == 0
    finally:
        os.chdir(before)
    return here, lines


@pytest.fixture(scope="module")
def page(tour):
    return (tour[0] / "runs" / "demo" / "report.html").read_text(encoding="utf-8")


def test_it_says_where_the_report_is(tour):
    here, lines = tour
    assert lines[-1] == f"the report is in {here.resolve()}/runs/demo/report.html"


def test_nothing_is_written_elsewhere(tour):
    here, _ = tour
    assert [path.name for path in here.iterdir()] == ["runs"]
    assert sorted(path.name for path in (here / "runs" / "demo").iterdir()) == [
        "assays",
        "data",
        "images",
        "numbers.json",
        "report.html",
        "screen",
        "training",
    ]


def test_every_chapter_has_its_figures(page):
    tree = parse(page)
    chapters = [e for e in tree.iter("section") if e.get("class") == "chapter"]
    assert [c.get("id") for c in chapters] == [
        "finding-nuclei",
        "looking-eight-times-test-time-augmentation",
        "learning-from-nothing",
        "from-single-cells-to-mechanisms-a-cell-painting-screen",
        "from-structures-and-cells-to-assays",
    ]
    for chapter in chapters:
        figures = list(chapter.iter("figure"))
        assert len(figures) >= 2
        for figure in figures:
            marks = sum(1 for e in figure.iter() if e.tag in ("path", "image", "use"))
            assert marks >= 3
            assert len(figure[-1].text or "") > 60  # a caption in words


def test_the_page_stands_alone(page):
    assert outside_resources(page) == []
    assert repeated_ids(page) == []


def test_the_numbers_on_the_page_are_those_measured(tour, page):
    numbers = json.loads((tour[0] / "runs" / "demo" / "numbers.json").read_text())
    words = text_of(page)
    for by_method in numbers["scores"].values():
        for method, total in by_method.items():
            assert total["n_images"] == 2
            assert f"{method} {total['ap_dsb2018']:.3f} {total['ap'][0]:.3f}" in words
    training = numbers["training"]
    assert sorted(map(int, training["ap_dsb2018"])) == [0, 2, 4]
    assert f"{training['parameters']:,} parameters" in words
    assert "no accelerator was used" in words


def test_an_unknown_model_and_size_are_one_line(tmp_path, capsys):
    assert demo.main(["--out", str(tmp_path), "--model", "nucleus"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("cellml demo: unknown model 'nucleus'; known:")
    assert error.count("\n") == 1
    assert demo.main(["--out", str(tmp_path), "--size", "huge"]) == 2
    assert "size must be one of full, smoke, found 'huge'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path, weights):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(UsageError, match="demo: expected a folder to write to, found a file"):
        demo.run(tmp_path / "demo", model=weights, size="smoke")


def test_help_imports_nothing_heavy(imported_by):
    assert not imported_by("cellml.commands.demo") & {"jax", "matplotlib", "skimage"}
