import itertools
from dataclasses import replace

import pytest

from cellml.assistant.matching import (
    SORT_KEYS,
    Filters,
    find_matches,
    resolve_challenge,
    resolve_modality,
    see_also,
    sort_matches,
    suggested,
)
from cellml.assistant.methods import Catalogue
from cellml.assistant.microscopy_tree import CHALLENGES
from cellml.errors import UsageError


def some_filters(catalogue: Catalogue, *, every: int = 1) -> list[Filters]:
    """Every node alone, some pairs, with each dimension and some challenges; or a part of them."""
    nodes = [(), *((node.id,) for node in catalogue.modalities)]
    nodes += [("culture-dic", "tissue-light-sheet"), ("tissue", "tissue-dic")]
    challenges = [(), ("overlapping",), ("elongated", "fragmented"), tuple(CHALLENGES)]
    return [Filters(*chosen) for chosen in itertools.product(nodes, (None, "2d", "3d"), challenges)]


def fits_naively(catalogue: Catalogue, method, filters: Filters) -> bool:
    """Plain loops over the tree's edges, from the root down."""
    parents = {node.id: node.parent for node in catalogue.modalities}

    def on_one_path(first: str, second: str) -> bool:
        for low, high in ((first, second), (second, first)):
            at = low
            while at is not None:
                if at == high:
                    return True
                at = parents[at]
        return False

    if filters.modalities:
        found = False
        for wanted in filters.modalities:
            for has in method.modalities:
                if on_one_path(wanted, has):
                    found = True
        if not found:
            return False
    if filters.dimension == "2d" and not method.two_d:
        return False
    if filters.dimension == "3d" and not method.three_d:
        return False
    return all(method.challenges[challenge] is True for challenge in filters.challenges)


def test_filters_agree_with_naive_loops(catalogue):
    for filters in some_filters(catalogue):
        expected = {m.id for m in catalogue.methods if fits_naively(catalogue, m, filters)}
        assert {m.method.id for m in find_matches(catalogue, filters)} == expected, filters
    assert len(some_filters(catalogue)) == 252


def test_filters_worked_out_by_hand(catalogue):
    found = find_matches(catalogue, Filters(("tissue-light-sheet",), "3d", ("fragmented",)))
    ids = [m.method.id for m in found]
    assert ids == ["opensegspim", "deepmib", "zerocostdl4mic", "imjoy"]
    assert [m.general for m in found] == [False, True, True, True]


def test_more_filters_never_find_more(catalogue):
    everything = {m.method.id for m in find_matches(catalogue, Filters())}
    assert len(everything) == len(catalogue.methods)
    for filters in some_filters(catalogue, every=11):
        found = {m.method.id for m in find_matches(catalogue, filters)}
        for fewer in (
            replace(filters, modalities=()),
            replace(filters, dimension=None),
            replace(filters, challenges=filters.challenges[1:]),
        ):
            assert found <= {m.method.id for m in find_matches(catalogue, fewer)}


def test_a_node_above_holds_what_the_nodes_below_hold(catalogue):
    for node in catalogue.modalities[1:]:
        below = {m.method.id for m in find_matches(catalogue, Filters((node.id,)))}
        above = {m.method.id for m in find_matches(catalogue, Filters((node.parent,)))}
        assert below <= above


def test_the_reason_names_each_filter(catalogue):
    filters = Filters(("tissue",), "3d", ("elongated", "overlapping"))
    matches = {m.method.id: m for m in find_matches(catalogue, filters)}
    assert matches["stardist"].why == (
        "Listed for confocal fluorescence of tissue and stained tissue (H&E); "
        "1 trained model for it; works in 3D; copes with elongated and overlapping nuclei."
    )
    assert matches["imjoy"].why == (
        "A general tool, for any image; works in 3D; copes with elongated and overlapping nuclei."
    )
    own = {m.method.id: m for m in find_matches(catalogue, Filters(("culture",), "2d"))}
    assert own["cellml-nuclei"].why == (
        "Listed for wide-field fluorescence of cultures; 1 trained model for it; mAP 0.606 "
        "measured by cellml on 74 fluorescence images; works in 2D."
    )
    assert own["u-net"].why.startswith(
        "Listed for wide-field fluorescence of cultures, confocal fluorescence of cultures "
        "and 4 more"
    )
    plain = {m.method.id: m.why for m in find_matches(catalogue, Filters())}
    assert plain["u-net"] == ""
    assert plain["cellml-nuclei"].startswith("mAP 0.606")


def test_only_measurements_of_the_modality_count(catalogue):
    own = {
        m.method.id: m for m in find_matches(catalogue, Filters(("tissue-brightfield-stained",)))
    }
    assert own["cellml-nuclei"].score == pytest.approx(0.4016, abs=1e-4)
    assert "cellml-mask-r-cnn" not in own


def test_years_sort_as_numbers_and_what_is_unknown_comes_last(catalogue):
    matches = find_matches(catalogue, Filters())
    years = [m.method.year for m in sort_matches(matches, "year")]
    assert years == sorted(years, reverse=True)
    assert [m.method.year for m in sort_matches(matches, "year", reverse=True)] == years[::-1]
    scores = [m.score for m in sort_matches(matches, "score")]
    assert scores[:2] == sorted((s for s in scores if s is not None), reverse=True)
    assert set(scores[2:]) == {None}
    assert [m.score for m in sort_matches(matches, "score", reverse=True)][:2] == scores[1::-1]
    counts = [m.n_pretrained for m in sort_matches(matches, "pretrained")]
    assert counts == sorted(counts, reverse=True)
    names = [m.method.name.lower() for m in sort_matches(matches, "name")]
    assert names == sorted(names)
    # As text, 10 would come before 9.
    two = [replace(matches[0], n_pretrained=9), replace(matches[1], n_pretrained=10)]
    assert [m.n_pretrained for m in sort_matches(two, "pretrained")] == [10, 9]


@pytest.mark.parametrize("key", SORT_KEYS)
def test_an_order_does_not_depend_on_the_order_before(catalogue, key):
    matches = find_matches(catalogue, Filters(("culture",)))
    once = [m.method.id for m in sort_matches(matches, key)]
    assert sorted(once) == sorted(m.method.id for m in matches)
    assert [m.method.id for m in sort_matches(sort_matches(matches, key), key)] == once


def test_an_unknown_order_is_named():
    with pytest.raises(UsageError, match="--sort stars: unknown; known: match"):
        sort_matches([], "stars")


def test_words_stand_for_nodes(catalogue):
    assert resolve_modality(catalogue, "Confocal") == (
        "culture-fluo-confocal",
        "tissue-fluo-confocal",
    )
    assert resolve_modality(catalogue, "H&E") == ("tissue-brightfield-stained",)
    assert resolve_modality(catalogue, "phase contrast") == ("culture-phase-contrast",)
    assert resolve_modality(catalogue, "tissue") == ("tissue",)
    assert resolve_challenge(" Elongated") == "elongated"


def test_unknown_words_get_a_suggestion(catalogue):
    with pytest.raises(UsageError, match="--modality confocl: unknown; did you mean confocal"):
        resolve_modality(catalogue, "confocl")
    with pytest.raises(UsageError, match="--challenge heterogen: unknown; did you mean heterogen"):
        resolve_challenge("heterogen")
    with pytest.raises(UsageError, match="--challenge qqq: unknown; known: elongated"):
        resolve_challenge("qqq")


def test_see_also_drops_as_few_filters_as_it_can(catalogue):
    groups = 0
    for filters in some_filters(catalogue, every=5):
        listed = find_matches(catalogue, filters)
        near = see_also(catalogue, filters)
        if any(not match.general for match in listed):
            assert near == ()
            continue
        groups += len(near)
        for group in near:
            left = [group.filters.modalities != filters.modalities]
            left.append(group.filters.dimension != filters.dimension)
            left += [c not in group.filters.challenges for c in filters.challenges]
            assert sum(left) >= 1
            ids = [m.method.id for m in group.matches]
            assert ids
            assert not set(ids) & {m.method.id for m in listed}
            assert all(
                fits_naively(catalogue, m.method, group.filters) and not m.general
                for m in group.matches
            )
    assert groups > 3


def test_see_also_worked_out_by_hand(catalogue):
    near = see_also(catalogue, Filters(("tissue-dic",), "3d"))
    assert [group.left_out for group in near] == ["the kind of image", "3D"]
    assert [m.method.id for m in near[1].matches] == [
        "u-net",
        "multi-scale-cell-instance-segmentation-with",
        "segnet",
    ]
    # Without any general tool the list itself is empty.
    specific = Catalogue(
        tuple(m for m in catalogue.methods if "microscopy" not in m.modalities),
        catalogue.modalities,
    )
    filters = Filters(("tissue-dic",), "3d", ("overlapping",))
    assert find_matches(specific, filters) == ()
    assert [group.left_out for group in see_also(specific, filters)] == ["the kind of image", "3D"]


def test_what_the_source_suggests_is_no_match(catalogue):
    ids = [m.id for m in suggested(catalogue, Filters(("tissue-fluo-confocal",), "2d"))]
    assert ids == ["u-net", "mask-r-cnn", "nucleaizer", "cellpose", "segnet"]
    assert suggested(catalogue, Filters()) == ()
    assert suggested(catalogue, Filters(("culture-dic",))) == ()
