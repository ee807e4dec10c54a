"""`cellml choose`: options, table, JSON and page."""

import io
import json

import numpy as np
import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cellml.assistant.matching import Filters, find_matches
from cellml.assistant.methods import load_catalogue
from cellml.cli_choose import choose_app
from cellml.commands.choose import ChooseOptions, run
from cellml.data.simulation import simulate_field
from cellml.errors import UsageError


def call(**options) -> tuple[dict, str]:
    console = Console(file=io.StringIO(), width=160)
    result = run(ChooseOptions(**options), console)
    return result, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def image(tmp_path):
    pixels, _ = simulate_field(np.random.default_rng(3), shape=(128, 128), diameter_px=18.0)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "cells.png")
    return tmp_path / "cells.png"


def test_the_table_has_one_row_a_method_and_says_why():
    result, text = call(modality=("light-sheet",), dimension="3d")
    expected = find_matches(load_catalogue(), Filters(("tissue-light-sheet",), "3d"))
    assert [m["id"] for m in result["matches"]] == [m.method.id for m in expected]
    assert f"{len(expected)} of 45 methods fit" in text
    lines = [line for line in text.splitlines() if line.startswith("OpenSegSPIM")]
    assert len(lines) == 1
    assert lines[0].split()[1:3] == ["2016", "3D"]
    assert "Listed for light-sheet" in lines[0]


def test_json_is_json_and_unknown_is_null():
    result, text = call(challenges=("elongated,overlapping",), as_json=True, sort="year")
    assert json.loads(text) == json.loads(json.dumps(result))
    assert result["filters"]["challenges"] == ("elongated", "overlapping")
    years = [m["year"] for m in result["matches"]]
    assert years == sorted(years, reverse=True)
    assert all(m["github_stars"] is None for m in result["matches"])
    assert all(m["challenges"]["overlapping"] is True for m in result["matches"])


def test_own_models_stand_in_the_list_with_their_scores():
    result, text = call(modality=("h&e",))
    own = {m["id"]: m for m in result["matches"]}["cellml-nuclei"]
    assert own["score"] == pytest.approx(0.4016, abs=1e-4)
    assert "0.402" in text


def test_where_only_general_tools_fit_others_are_named():
    result, text = call(modality=("dic",), dimension="3d")
    assert {m["general"] for m in result["matches"]} == {True}
    assert [group["without"] for group in result["see_also"]] == ["the kind of image", "3D"]
    assert "See also, without 3D: U-Net; " in text


def test_an_image_sets_the_filters_that_were_not_given(image, tmp_path):
    result, text = call(image=image, html=tmp_path / "out" / "page.html")
    assert result["image"]["kind"] == "fluorescence"
    assert result["filters"]["dimension"] == "2d"
    assert "culture-fluo-widefield" in result["filters"]["modalities"]
    assert "cells.png (128 x 128 px): fluorescence, likely." in text
    assert "px wide" in text
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert "cells.png (128 x 128 px)" in page
    assert '"preset":{"modalities":["culture-fluo-widefield"' in page
    given, _ = call(image=image, modality=("tissue-dic",), dimension="3d")
    assert given["filters"] == {
        "modalities": ("tissue-dic",),
        "dimension": "3d",
        "challenges": (),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": ("confocl",)}, "did you mean confocal"),
        ({"challenges": ("elongated,wobling",)}, "did you mean wobbling"),
        ({"dimension": "4d"}, "--dimension 4d: 2d or 3d expected"),
        ({"sort": "stars"}, "--sort stars: unknown"),
        ({"channel": 2}, "--channel: only with --image"),
    ],
)
def test_what_is_unknown_is_an_error_with_a_suggestion(options, message):
    with pytest.raises(UsageError, match=message):
        call(**options)


def test_the_options_of_the_command_line():
    app = typer.Typer()

    @app.command()
    def other() -> None: ...

    app.add_typer(choose_app)
    words = ["choose", "--modality", "confocal", "--dimension", "3D", "--json"]
    result = CliRunner().invoke(app, [*words, "--challenge", "concave", "--challenge", "wobbling"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert found["filters"] == {
        "modalities": ["culture-fluo-confocal", "tissue-fluo-confocal"],
        "dimension": "3d",
        "challenges": ["concave", "wobbling"],
    }
