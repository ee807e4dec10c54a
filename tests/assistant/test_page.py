import json
import re
from dataclasses import asdict

import pytest

from cellml.assistant.matching import (
    SORT_KEYS,
    Filters,
    find_matches,
    see_also,
    sort_matches,
    suggested,
)
from cellml.assistant.page import render_page, write_page
from tests.assistant.test_matching import some_filters


@pytest.fixture(scope="module")
def opened(browser, catalogue, tmp_path_factory):
    """Opens the page from a file, and fails on any request or message of an error."""
    pages = []

    def open_page(preset=Filters(), hints=()):  # noqa: B008 (immutable)
        path = tmp_path_factory.mktemp("page") / "choose.html"
        write_page(path, catalogue, preset, hints)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)  # a busy machine is slow
        faults: list[str] = []
        page.on("request", lambda request: faults.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text))
        page.goto(path.as_uri())
        assert faults == [path.as_uri()]
        pages.append((page, faults))
        return page

    yield open_page
    for page, faults in pages:
        assert len(faults) == 1, faults
        page.close()


def listed(page) -> list[str]:
    return page.eval_on_selector_all("tr[data-method]", "rows => rows.map(r => r.dataset.method)")


def ids(matches) -> list[str]:
    return [match.method.id for match in matches]


def test_the_page_needs_no_other_file(catalogue):
    text = render_page(catalogue, Filters())
    assert text.startswith("<!DOCTYPE html>\n")
    assert "@@" not in text
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"<link|<img|<script|@import|url\(", markup)
    assert not re.findall(r"<script[^>]*\bsrc|\bfetch\(|XMLHttp|\bimport\b.*\bfrom\b", text)
    assert len(text.encode()) < 200_000


def test_data_cannot_leave_their_element(catalogue):
    text = render_page(catalogue, Filters(), ["</script><b>a & b"])
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["hints"] == ["</script><b>a & b"]


def test_a_biologist_finds_methods(opened, catalogue):
    """Tree, 3D, two challenges, order by year, a reason, details, and back."""
    page = opened()
    assert len(listed(page)) == len(catalogue.methods)
    page.click("#tree [data-node=tissue] > .node")
    page.click("text=3D >> nth=0")
    for name in ("elongated", "overlapping"):
        page.locator("#challenges label", has_text=name).click()
    filters = Filters(("tissue",), "3d", ("elongated", "overlapping"))
    expected = find_matches(catalogue, filters)
    assert listed(page) == ids(expected)
    assert page.inner_text("#count") == f"{len(expected)} of {len(catalogue.methods)} methods fit"
    page.click("th button:has-text('Year')")
    assert listed(page) == ids(sort_matches(expected, "year"))
    page.click("th button:has-text('Year')")
    years = [
        int(y)
        for y in page.eval_on_selector_all(
            "tr[data-method] td:nth-child(2)", "cells => cells.map(c => c.textContent)"
        )
    ]
    assert years == sorted(years)
    assert page.get_attribute("th:nth-child(2)", "aria-sort") == "ascending"
    row = page.locator("tr[data-method=stardist]")
    assert expected[0].why in page.inner_text("#table")
    row.locator("button.name").click()
    details = page.locator("tr.details")
    assert "BSD-3-Clause" in details.inner_text()
    assert details.locator("a", has_text="Code").get_attribute("href") == (
        "https://github.com/stardist/stardist"
    )
    assert "A bracket without its partner" in details.inner_text()
    page.click("#clear")
    assert len(listed(page)) == len(catalogue.methods)


def test_see_also_leads_to_methods(opened, catalogue):
    filters = Filters(("tissue-dic",), "3d", ("overlapping",))
    page = opened(filters)
    groups = see_also(catalogue, filters)
    assert [
        t.removeprefix("See also: without ") for t in page.locator("#near h3").all_inner_texts()
    ] == [group.left_out for group in groups]
    page.locator("#near .more").last.click()
    assert listed(page)[: len(groups[-1].matches)] == ids(groups[-1].matches)


def test_hints_of_an_image_are_shown_as_text(opened):
    page = opened(Filters(("tissue-light-sheet",), "2d"), ["<b>cells</b>.png: fluorescence."])
    assert "<b>cells</b>.png: fluorescence." in page.inner_text("#hints")
    assert page.is_checked("input[name=dimension][value='2d']")
    chosen = page.locator("#tree [aria-selected=true]").evaluate_all(
        "nodes => nodes.map(n => n.dataset.node)"
    )
    assert chosen == ["tissue-light-sheet"]


def test_the_keyboard_is_enough(opened, catalogue):
    page = opened()
    page.focus("#tree [tabindex='0']")
    for key in ("ArrowDown", "ArrowRight", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    chosen = page.locator("#tree [aria-selected=true]").get_attribute("data-node")
    assert chosen == "culture-fluo-confocal"
    assert listed(page) == ids(find_matches(catalogue, Filters((chosen,))))
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.is_checked("input[name=dimension][value='2d']")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.is_checked("input[value=elongated]")
    page.focus("button.name >> nth=0")
    page.keyboard.press("Enter")
    assert page.locator("tr.details").count() == 1
    assert page.evaluate("document.activeElement.className") == "name"


def test_the_page_filters_and_sorts_as_python_does(opened, catalogue):
    page = opened()
    wanted = some_filters(catalogue, every=11)
    # Lists of JavaScript and tuples of Python are the same thing here.
    found = page.evaluate(
        """([wanted, keys]) => wanted.map((filters) => ({
          matches: findMatches(catalogue, filters).map(
            (m) => [m.method.id, m.why, m.general, m.trained, m.score]),
          near: seeAlso(catalogue, filters).map(
            (g) => [g.leftOut, g.matches.map((m) => m.method.id)]),
          others: suggestedMethods(catalogue, filters).map((m) => m.id),
          orders: keys.flatMap((key) => [false, true].map((reverse) =>
            sortMatches(findMatches(catalogue, filters), key, reverse).map((m) => m.method.id))),
        }))""",
        [[asdict(filters) for filters in wanted], list(SORT_KEYS)],
    )
    for filters, there in zip(wanted, found, strict=True):
        matches = find_matches(catalogue, filters)
        assert there["matches"] == [
            [m.method.id, m.why, m.general, m.n_pretrained, m.score] for m in matches
        ]
        assert there["near"] == [[g.left_out, ids(g.matches)] for g in see_also(catalogue, filters)]
        assert there["others"] == [m.id for m in suggested(catalogue, filters)]
        assert there["orders"] == [
            ids(sort_matches(matches, key, reverse=reverse))
            for key in SORT_KEYS
            for reverse in (False, True)
        ]
