import pytest

from cellml.profiling.combine import DISSERTATION_RECIPE, Screen, Step, combine_screens

NAN = float("nan")
A = Screen(
    ["p", "q", "r", "s", "t"], [1, 5, 3, NAN, 4], [90, 500, 500, 500, 500], ["m"] * 5, "compound"
)
B = Screen(["q", "p", "u", "r"], [1, 2, 9, 4], [50, 60, 30, 500], ["m", "m", "", "k"], "compound")
G = Screen(["g", "h", "g:mut"], [1, 2, 3], [200, 200, 200], ["x"] * 3, "gene", [True, True, False])
SCREENS = {"A": A, "B": B, "G": G}


def test_strongest_then_shared():
    recipe = [Step("A", 3, shared_with="B", shared_after=True)]  # q, t, r are strongest; t drops
    found = combine_screens(SCREENS, recipe)
    assert found.treatments == ("q", "r")
    assert found.cells == (550, 1000)
    assert found.sources == (("A", "B"), ("A", "B"))
    shared = combine_screens(SCREENS, [Step("A", 3, shared_with="B")])
    assert shared.treatments == ("q", "r", "p")


def test_steps_take_what_is_left():
    recipe = [Step("A", 1), Step("A", 2), Step("B", 9, top_moas=1), Step("G", 9, wild_type=True)]
    found = combine_screens(SCREENS, recipe)
    assert found.treatments == ("q", "t", "r", "h", "g")
    assert found.step == (0, 1, 1, 3, 3)
    assert found.dropped == {"p": 60}  # by B alone it has too few cells; r of B is of moa k
    assert found.control_classes == ("compound", "gene")
    assert combine_screens(SCREENS, recipe, min_cells=60).dropped == {}


def test_a_dropped_class_brings_no_controls():
    found = combine_screens(SCREENS, [Step("B", 1), Step("G", 1)])
    assert found.dropped == {"u": 30}
    assert found.control_classes == ("gene",)


def test_recipe_of_the_dissertation_on_made_up_screens():
    def screen(names, kind, **options):
        n = len(names)
        moa = [f"moa {i % 30}" for i in range(n)]
        return Screen(names, list(range(n, 0, -1)), [200] * n, moa, kind, **options)

    compounds = [f"c{i}" for i in range(1600)]
    genes = [f"g{i}" for i in range(100)]
    screens = {
        "BBBC022": screen(compounds, "compound"),
        "BBBC036": screen(compounds[::2] + [f"d{i}" for i in range(300)], "compound"),
        "LINCS": screen([f"l{i}" for i in range(400)], "compound"),
        "BBBC043": screen(genes, "gene", wild_type=[i < 60 for i in range(100)]),
        "BBBC037": screen(genes[:50] + [f"h{i}" for i in range(80)], "gene"),
    }
    found = combine_screens(screens)
    per_step = [found.step.count(i) for i in range(len(DISSERTATION_RECIPE))]
    assert per_step == [250, 50, 62, 7, 28, 29, 32]
    assert len(set(found.treatments)) == len(found.treatments)
    assert found.control_classes == ("compound", "gene")


def test_errors():
    with pytest.raises(ValueError, match="step 0 names 'Z'"):
        combine_screens(SCREENS, [Step("Z", 1)])
    with pytest.raises(ValueError, match="cells has 1 entries, expected 2"):
        combine_screens({"A": Screen(["a", "b"], [1, 2], [3], ["", ""], "gene")}, [])
    with pytest.raises(ValueError, match="listed twice"):
        combine_screens({"A": Screen(["a", "a"], [1, 2], [3, 3], ["", ""], "gene")}, [])
    with pytest.raises(ValueError, match="compound or gene"):
        combine_screens({"A": A._replace(kind="drug")}, [])
