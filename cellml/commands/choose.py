"""`cellml choose`: methods that fit a kind of image and its difficulties, and why."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cellml.assistant.image_hints import ImageHints, read_hints
from cellml.assistant.matching import (
    DIMENSIONS,
    Filters,
    Match,
    SeeAlso,
    find_matches,
    resolve_challenge,
    resolve_modality,
    see_also,
    sort_matches,
    suggested,
)
from cellml.assistant.methods import Catalogue, load_catalogue
from cellml.assistant.page import method_record, write_page
from cellml.errors import UsageError

NEAR_MAX = 6
"""Methods named in a group of 'See also'."""


@dataclass(frozen=True)
class ChooseOptions:
    """What the user asked for; see `cellml choose --help`."""

    modality: Sequence[str] = ()
    dimension: str | None = None
    challenges: Sequence[str] = ()
    image: Path | None = None
    channel: int | None = None
    sort: str = "match"
    reverse: bool = False
    html: Path | None = None
    as_json: bool = False


def run(options: ChooseOptions, console: Console) -> dict[str, Any]:
    """Finds methods and prints, or writes, them.

    Args:
      options: See `ChooseOptions`.
      console: Where to print.
    Returns:
      What `--json` prints.
    Raises:
      UsageError: An unknown modality, dimension, challenge or order; the message suggests others.
      UserError: The image cannot be read.
    """
    catalogue = load_catalogue()
    given = given_filters(catalogue, options)
    if options.channel is not None and options.image is None:
        raise UsageError("--channel: only with --image")
    hints = read_hints(options.image, channel=options.channel) if options.image else None
    filters = with_hints(given, hints)
    matches = sort_matches(find_matches(catalogue, filters), options.sort, reverse=options.reverse)
    near = see_also(catalogue, filters)
    result = as_record(catalogue, filters, hints, matches, near)
    if options.html:
        write_page(options.html, catalogue, filters, hints.sentences() if hints else ())
    if options.as_json:
        console.print(json.dumps(result, indent=2), soft_wrap=True, markup=False, highlight=False)
        return result
    _print(catalogue, filters, hints, matches, near, console)
    if options.html:
        console.print(f"wrote {options.html}", soft_wrap=True, markup=False, highlight=False)
    return result


def given_filters(catalogue: Catalogue, options: ChooseOptions) -> Filters:
    """The filters that the options name; a challenge may hold several, separated by commas.

    Raises:
      UsageError: An unknown modality, dimension or challenge.
    """
    dimension = options.dimension.lower() if options.dimension else None
    if dimension not in (None, *DIMENSIONS):
        raise UsageError(f"--dimension {options.dimension}: 2d or 3d expected")
    nodes = [node for text in options.modality for node in resolve_modality(catalogue, text)]
    root = catalogue.modalities[0].id
    names = [name for text in options.challenges for name in text.split(",") if name.strip()]
    return Filters(
        () if root in nodes else tuple(dict.fromkeys(nodes)),
        dimension,
        tuple(dict.fromkeys(resolve_challenge(name) for name in names)),
    )


def with_hints(given: Filters, hints: ImageHints | None) -> Filters:
    """Filters of the user, and of the image where the user said nothing."""
    if hints is None:
        return given
    return Filters(
        given.modalities or hints.modalities, given.dimension or hints.dimension, given.challenges
    )


def as_record(
    catalogue: Catalogue,
    filters: Filters,
    hints: ImageHints | None,
    matches: Sequence[Match],
    near: Sequence[SeeAlso],
) -> dict[str, Any]:
    """The result as JSON has it.

    Args:
      catalogue: Methods and tree.
      filters: In force.
      hints: Of the image, if one was given.
      matches: Found, in order.
      near: Groups of 'See also'.
    Returns:
      `filters`, `image`, `n_methods`, `matches`, `see_also`, `suggested`; null is unknown.
    """
    return {
        "filters": asdict(filters),
        "image": {**asdict(hints), "sentences": list(hints.sentences())} if hints else None,
        "n_methods": len(catalogue.methods),
        "matches": [
            {
                "why": match.why,
                "general": match.general,
                "trained_models": match.n_pretrained,
                "score": match.score,
                **method_record(match.method),
            }
            for match in matches
        ],
        "see_also": [
            {"without": group.left_out, "methods": [m.method.id for m in group.matches]}
            for group in near
        ],
        "suggested": [method.id for method in suggested(catalogue, filters)],
    }


def _print(
    catalogue: Catalogue,
    filters: Filters,
    hints: ImageHints | None,
    matches: Sequence[Match],
    near: Sequence[SeeAlso],
    console: Console,
) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    if hints:
        for sentence in hints.sentences():
            say(sentence)
    if filters.modalities:
        say("Kind: " + "; ".join(catalogue.modality(n).path for n in filters.modalities))
    say(f"{len(matches)} of {len(catalogue.methods)} methods fit")
    if matches:
        console.print(_as_table(matches))
    for group in near:
        names = [match.method.name for match in group.matches]
        more = f" and {len(names) - NEAR_MAX} more" if len(names) > NEAR_MAX else ""
        say(f"See also, without {group.left_out}: {'; '.join(names[:NEAR_MAX])}{more}")
    others = suggested(catalogue, filters)
    if others:
        say(f"See also, worth a try: {'; '.join(method.name for method in others)}")


def _as_table(matches: Sequence[Match]) -> Table:
    """One row a method; numbers to the right, a question mark for what is unknown."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method", ratio=3, min_width=14, overflow="fold")
    table.add_column("year", justify="right", no_wrap=True)
    table.add_column("in", no_wrap=True)
    table.add_column("models", justify="right", no_wrap=True)
    table.add_column("mAP", justify="right", no_wrap=True)
    table.add_column("licence", min_width=8, overflow="fold")
    table.add_column("why", ratio=5, overflow="fold")
    for match in matches:
        method = match.method
        table.add_row(
            method.name,
            str(method.year),
            method.dimensions,
            str(match.n_pretrained) if match.n_pretrained else "-",
            "?" if match.score is None else f"{match.score:.3f}",
            method.licence.name.partition(" ")[0] if method.licence else "?",
            match.why,
        )
    return table
