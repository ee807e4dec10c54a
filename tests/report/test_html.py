import xml.etree.ElementTree as ET

import pytest
from markupsafe import Markup

from cellml.report import charts
from cellml.report.html import (
    Chapter,
    Figure,
    Headline,
    Section,
    Table,
    render_report,
    write_report,
)
from tests.report.page_checks import outside_resources, parse, repeated_ids, text_of


def chapter(title: str, body: str = "<svg/>") -> Chapter:
    table = Table(
        ["who", "n"], [["cells < 3 µm", "1"], ["others", "2"]], "Counts", frozenset({(1, 1)})
    )
    figure = Figure(Markup(body), f"What {title} shows & tells", "Above")
    section = Section(f"Part of {title}", ["A paragraph."], [figure, table])
    return Chapter(title, f"Lead of {title}", [section], [Headline("0.5", f"score of {title}")])


def page(*chapters: Chapter) -> str:
    return render_report("A page", "Hello.", chapters, {"Device": "2 x cpu <test>"})


def test_every_chapter_is_on_the_page_and_in_its_contents():
    text = page(chapter("First things"), chapter("Second: a test"))
    tree = parse(text)
    for title, anchor in (("First things", "first-things"), ("Second: a test", "second-a-test")):
        assert [e.get("id") for e in tree.iter("section") if e.get("id") == anchor] == [anchor]
        assert [e.text for e in tree.iter("a") if e.get("href") == f"#{anchor}"] == [title]
        for words in (f"Lead of {title}", f"Part of {title}", f"What {title} shows & tells"):
            assert words in text_of(text)
    assert "2 x cpu <test>" in text_of(text)


def test_tables_keep_their_cells_and_stress_the_right_one():
    tree = parse(page(chapter("One")))
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert rows == [["who", "n"], ["cells < 3 µm", "1"], ["others", "2"]]
    assert [c.text for c in tree.iter("td") if c.get("class") == "strong"] == ["2"]


def test_text_is_escaped_and_bodies_are_not():
    text = page(chapter("<b>", "<svg><title>kept</title></svg>"))
    assert not list(parse(text).iter("b"))
    assert "kept" in [e.text for e in parse(text).iter("title")]


def test_nothing_is_fetched():
    assert outside_resources(page(chapter("One"))) == []


@pytest.mark.parametrize(
    "body",
    [
        '<img src="https://example.org/a.png"/>',
        '<svg><image href="picture.png"/></svg>',
        '<p style="background: url(http://example.org/a.png)"/>',
        "<script/>",
    ],
)
def test_the_check_for_outside_resources_sees_one(body):
    assert outside_resources(page(chapter("One", body)))


def test_an_unclosed_tag_is_seen():
    with pytest.raises(ET.ParseError):
        parse(page(chapter("One", "<p>open")))


def test_chapters_need_their_own_titles():
    with pytest.raises(ValueError, match=r"different titles, found .*Same"):
        page(chapter("Same"), chapter("same"))


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"expected 2 cells, found \['1'\]"):
        Table(["a", "b"], [["1"]])


def test_charts_beside_each_other_share_no_id():
    bodies = [charts.deltas({"a": [0.1, -0.2]}, ylabel="y", label=name) for name in ("one", "two")]
    text = page(chapter("One", str(bodies[0])), chapter("Two", str(bodies[1])))
    assert repeated_ids(text) == []


def test_a_page_is_written_whole(tmp_path):
    path = tmp_path / "new" / "report.html"
    write_report(path, "A page", "Hello.", [chapter("One")], {})
    assert path.read_text(encoding="utf-8") == render_report(
        "A page", "Hello.", [chapter("One")], {}
    )
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_picture_that_is_shown_again_is_kept_once():
    one = '<image width="4" height="3" href="data:image/png;base64,AAAA"/>'
    other = '<image width="4" height="3" href="data:image/png;base64,BBBB"/>'
    text = page(chapter("One", f"<svg>{one}</svg>"), chapter("Two", f"<svg>{other}{one}</svg>"))
    assert text.count("AAAA") == text.count("BBBB") == 1
    tree = parse(text)
    first = [e.get("id") for e in tree.iter("image") if "AAAA" in (e.get("href") or "")]
    assert [e.get("href") for e in tree.iter("use")] == [f"#{first[0]}"]
    assert repeated_ids(text) == []
