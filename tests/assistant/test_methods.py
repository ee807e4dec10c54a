import json
import re
from copy import deepcopy
from importlib import resources
from pathlib import Path

import pytest

from cellml.assistant.methods import (
    CHALLENGE_MEANINGS,
    parse_methods,
    parse_modalities,
    read_data,
)
from cellml.assistant.microscopy_tree import CHALLENGES, apply, link, rebuild, slug
from cellml.assistant.own_models import own_records
from cellml.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
NODES = parse_modalities(read_data("modalities.json"), "modalities.json")
DATA = Path(str(resources.files("cellml.assistant") / "data"))


def record(**changes) -> dict:
    return {**deepcopy(read_data("methods.json")[2]), **changes}


def test_all_43_methods_of_the_source_and_both_own_models_are_there(catalogue):
    numbers = [m.source_id for m in catalogue.methods if m.source_id is not None]
    assert sorted(numbers) == list(range(43))
    assert [m.id for m in catalogue.methods if m.source_id is None] == [
        "cellml-nuclei",
        "cellml-mask-r-cnn",
    ]


def test_every_method_hangs_on_a_modality_those_for_3d_only_too(catalogue):
    known = {node.id for node in catalogue.modalities}
    only_3d = [m for m in catalogue.methods if m.three_d and not m.two_d]
    assert len(only_3d) == 11
    for method in catalogue.methods:
        assert method.modalities
        assert set(method.modalities) | set(method.also_for) <= known
        assert not set(method.modalities) & set(method.also_for)


def test_names_ids_and_years_are_plausible(catalogue):
    for values in ([m.id for m in catalogue.methods], [m.name for m in catalogue.methods]):
        assert len(set(values)) == len(values)
    for method in catalogue.methods:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", method.id)
        assert method.source_id is None or 2010 <= method.year <= 2021
        assert method.authors
        assert method.venue
        assert method.name.count("(") == method.name.count(")")
        assert method.venue.count("(") == method.venue.count(")")
        years = re.findall(r"\b20\d\d\b", method.venue)
        assert not years or str(method.year) in years  # 'MICCAI 2020' of 2019 was a fault


def test_links_are_whole(catalogue):
    for method in catalogue.methods:
        addresses = [a for a in method.links.values() if a]
        addresses += [a for model in method.pretrained for a in model.links]
        for address in addresses:
            assert re.fullmatch(r"https?://[^\s<>\"]+", address)
            assert "hl=" not in address
            assert "dx.doi.org" not in address
        assert method.source_id is None or (method.links["paper"] and method.links["code"])
    cites = [m.links["citations"] for m in catalogue.methods if m.links["citations"]]
    assert len(set(cites)) == len(cites)  # one entry of the source had those of another


def test_only_checked_facts_are_filled(catalogue):
    for method in catalogue.methods:
        assert method.github_stars is None
        if method.source_id is not None:
            assert (method.licence is None) == (method.last_checked is None)
            assert not method.measured
    assert sum(m.licence is not None for m in catalogue.methods) == 13


def test_a_method_on_which_the_source_is_silent_is_unknown_not_false(catalogue):
    by_id = {m.id: m for m in catalogue.methods}
    assert set(by_id["qupath"].challenges.values()) == {None}
    assert by_id["segnet"].challenges["elongated"] is True
    assert by_id["segnet"].challenges["overlapping"] is None
    assert by_id["hover-net"].challenges["fragmented"] is False


def test_the_corrected_facts_are_the_right_ones(catalogue):
    by_id = {m.source_id: m for m in catalogue.methods}
    assert (by_id[42].authors, by_id[42].year) == ("Sahasrabudhe et al.", 2020)
    assert by_id[42].modalities == ("tissue-brightfield-stained",)
    assert (by_id[17].year, by_id[23].year, by_id[38].year) == (2021, 2019, 2017)
    assert by_id[13].modalities == ("tissue-light-sheet",)
    assert "tissue-fluo-confocal" in by_id[2].modalities


def test_every_correction_says_why_and_on_what_grounds():
    corrections = read_data("corrections.json")
    assert len(corrections["corrections"]) > 40
    fields = set()
    for correction in corrections["corrections"]:
        assert set(correction) == {"method", "field", "value", "reason", "basis"}
        assert len(correction["reason"]) > 8
        assert correction["basis"]
        fields.add((correction["method"], correction["field"]))
    assert len(fields) == len(corrections["corrections"])


def test_the_data_are_the_source_with_the_corrections(shared_data):
    folder = shared_data / "microscopy_tree"
    if not folder.is_dir():
        pytest.skip(f"no microscopy tree in {shared_data}")
    assert (DATA / "methods.json").read_text(encoding="utf-8") == rebuild(folder, DATA)
    source = json.loads((folder / "seg_methods.json").read_text(encoding="utf-8"))["seg_methods"]
    tree = (folder / "tree.json").read_text(encoding="utf-8")
    hung = set()

    def walk(node, root):
        hung.update(() if root else (*node["methods"], *node["backup_methods"]))
        for child in node["children"]:
            walk(child, False)

    walk(json.loads(tree), True)
    homeless = {m["m_id"] for m in source} - hung
    assert len(homeless) == 21
    corrected = {
        c["method"]
        for c in read_data("corrections.json")["corrections"]
        if c["field"] == "modalities"
    }
    assert homeless <= corrected


def test_scores_of_the_shipped_model_are_those_of_its_release(catalogue):
    released = json.loads(
        (REPOSITORY / "cellml/weights/pretrained/nuclei.json").read_text(encoding="utf-8")
    )
    own = catalogue.methods[0]
    for measured in own.measured:
        expected = released["validation"][measured.images]["d4"]
        assert measured.value == expected["ap_dsb2018"]
        assert measured.n_images == expected["n_images"]
    assert len(own.measured) == 3
    card = (REPOSITORY / "cellml/weights/pretrained/nuclei.md").read_text(encoding="utf-8")
    row = next(line for line in card.splitlines() if line.startswith("| fluorescence | 74"))
    assert f"**{own.measured[0].value:.3f}**" in row


def test_score_of_mask_r_cnn_is_that_of_the_benchmarks():
    measured = own_records()[1]["measured_by_cellml"][0]
    results = (REPOSITORY / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    rows = [line for line in results.splitlines() if line.startswith("| Mask R-CNN | d4 |")]
    assert len(rows) == 1
    assert float(rows[0].split("|")[3]) == measured["value"]
    assert "validation part (74)" in results
    assert measured["n_images"] == 74


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stars": 3}, "unknown ['stars']"),
        ({"modalities": []}, "no modality"),
        ({"modalities": ["moon"]}, "'moon' is not in the tree"),
        ({"also_for": ["moon"]}, "'moon' is not in the tree"),
        ({"year": "2018"}, "year is '2018'"),
        ({"year": 218}, "1980 to 2100"),
        ({"year": True}, "year is True"),
        ({"two_d": False, "three_d": False}, "neither 2D nor 3D"),
        ({"challenges": {"elongated": True}}, "missing"),
        ({"challenges": dict.fromkeys(CHALLENGES, "yes")}, "elongated is 'yes'"),
        ({"links": {"code": "x"}}, "missing"),
        ({"licence": {"name": "MIT"}}, "missing ['evidence']"),
    ],
)
def test_a_fault_in_the_data_is_named(changes, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse_methods([record(**changes)], NODES, "here.json")


def test_broken_links_and_doubles_are_named():
    one = record()
    one["links"]["code"] = "github.com/stardist"
    with pytest.raises(UserError, match=r"'github\.com/stardist' is no link"):
        parse_methods([one], NODES, "here.json")
    with pytest.raises(UserError, match="stands there twice"):
        parse_methods([record(), record(name="Other")], NODES, "here.json")
    with pytest.raises(UserError, match="method 1: an object expected"):
        parse_methods([record(), "StarDist"], NODES, "here.json")
    one = record(pretrained=[{"name": "a", "modality": "moon", "dimension": None, "links": []}])
    with pytest.raises(UserError, match="'moon' is not in the tree"):
        parse_methods([one], NODES, "here.json")


def test_a_tree_that_is_none_is_named():
    nodes = read_data("modalities.json")
    with pytest.raises(UserError, match="does not come before it"):
        parse_modalities([nodes[0], nodes[3]], "here.json")
    with pytest.raises(UserError, match="stands there twice"):
        parse_modalities([nodes[0], nodes[1], nodes[1]], "here.json")
    with pytest.raises(UserError, match="no parent"):
        parse_modalities([nodes[0], {**nodes[1], "parent": None}], "here.json")


def test_ancestors_are_those_of_the_tree(catalogue):
    assert catalogue.ancestors("culture-dic") == ("culture-label-free", "culture", "microscopy")
    assert catalogue.ancestors("microscopy") == ()
    assert len(catalogue.modalities) == 18
    assert set(CHALLENGE_MEANINGS) == set(CHALLENGES)


def test_links_and_names_get_one_form():
    assert link("http://dx.doi.org/10.1/x ") == "https://doi.org/10.1/x"
    assert link("https://scholar.google.com/scholar?hl=hu&as_sdt=2005&cites=12&scipsc=1") == (
        "https://scholar.google.com/scholar?cites=12"
    )
    assert link("https://github.com/a/b.git") == "https://github.com/a/b"
    assert slug("UNet++") == "unet-plus-plus"
    assert slug("Triple U-net: Haematoxylin-aware") == "triple-u-net"


def test_a_correction_that_does_nothing_is_named():
    records = {0: {"year": 2015, "pretrained": [{"name": "x"}]}}
    for field, value, message in (
        ("year", 2015, "changes nothing"),
        ("yaer", 2016, "no such field"),
        ("pretrained.1.name", "y", "no such field"),
    ):
        with pytest.raises(UserError, match=message):
            apply(records, {"method": 0, "field": field, "value": value})
    with pytest.raises(UserError, match="no such method"):
        apply(records, {"method": 9, "field": "year", "value": 1})
    apply(records, {"method": 0, "field": "pretrained.0.name", "value": "y"})
    assert records[0]["pretrained"][0]["name"] == "y"
