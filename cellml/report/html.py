"""A report: chapters of text, figures and tables on one HTML page that needs no other file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

TEMPLATES = "templates"


@dataclass(frozen=True)
class Table:
    """A table; the first column holds names, the others are aligned as numbers.

    Attributes:
      columns: Headings.
      rows: Cells as text, one row as long as `columns`.
      caption: Plain words on what it says.
      strong: (row, column) of cells to stress, from 0.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    strong: frozenset[tuple[int, int]] = frozenset()
    kind: str = "table"

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table: expected {len(self.columns)} cells, found {list(row)}")


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
      body: HTML or SVG, from `cellml.report.panels` or `cellml.report.charts`.
      caption: Plain words on what there is to see.
      title: One line above.
      kind: For the template.
    """

    body: Markup
    caption: str
    title: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Section:
    """A part of a chapter: a heading, a few paragraphs, then figures and tables."""

    title: str
    paragraphs: Sequence[str | Markup] = ()
    blocks: Sequence[Figure | Table] = ()


@dataclass(frozen=True)
class Headline:
    """A number for the top of the page, and what it is."""

    value: str
    label: str


@dataclass(frozen=True)
class Chapter:
    """What one pillar has to show.

    Attributes:
      title: Heading.
      lead: One sentence below it.
      sections: The text.
      headlines: Its most important numbers.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    headlines: Sequence[Headline] = ()

    @property
    def anchor(self) -> str:
        """Name of the chapter in links."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


def render_report(
    title: str, introduction: str, chapters: Sequence[Chapter], facts: Mapping[str, str]
) -> str:
    """The page as text.

    Args:
      title: Of the page.
      introduction: A paragraph at the top.
      chapters: In order.
      facts: Name and value of what the run was made with, for the end of the page.
    Returns:
      HTML that is also well-formed XML and names no outside resource.
    Raises:
      ValueError: Two chapters have one title.
    """
    anchors = [chapter.anchor for chapter in chapters]
    if len(set(anchors)) < len(anchors):
        raise ValueError(f"chapters need different titles, found {[c.title for c in chapters]}")
    folder = resources.files("cellml.report") / TEMPLATES
    return share_pictures(
        _environment()
        .from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
        .render(
            title=title,
            introduction=introduction,
            chapters=chapters,
            facts=facts,
            style=Markup((folder / "report.css").read_text(encoding="utf-8")),
        )
    )


def share_pictures(page: str) -> str:
    """Keeps the bytes of a picture once, however often it is shown.

    Args:
      page: With `<image>` elements as `cellml.report.panels` makes them.
    Returns:
      The page with every repetition replaced by a reference to the first.
    """
    seen: dict[str, str] = {}

    def shared(match: re.Match[str]) -> str:
        if match[0] in seen:
            return f'<use href="#{seen[match[0]]}"/>'
        seen[match[0]] = f"picture-{len(seen) + 1}"
        return f'<image id="{seen[match[0]]}"{match[1]}'

    return re.sub(r'<image( width="\d+" height="\d+" href="data:[^"]*"/>)', shared, page)


def write_report(
    path: str | Path,
    title: str,
    introduction: str,
    chapters: Sequence[Chapter],
    facts: Mapping[str, str],
) -> None:
    """Writes the page, whole or not at all.

    Args:
      path: File to write; its folder is made if needed.
      title: As in `render_report`.
      introduction: Likewise.
      chapters: Likewise.
      facts: Likewise.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(render_report(title, introduction, chapters, facts), encoding="utf-8")
    part.replace(path)


@cache
def _environment() -> Environment:
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
