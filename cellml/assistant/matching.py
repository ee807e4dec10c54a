"""Filters methods, says why each one matched, and what comes near where none does.

The page of the assistant does the same in `page/matching.js`; a test holds both together.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from cellml.assistant.methods import Catalogue, Method, Modality
from cellml.assistant.microscopy_tree import CHALLENGES
from cellml.errors import UsageError

DIMENSIONS = ("2d", "3d")
SORT_KEYS = ("match", "name", "year", "challenges", "pretrained", "score")
NAMED_MAX = 2
"""Modalities named in a sentence; more are counted."""


@dataclass(frozen=True)
class Filters:
    """What is asked for; all hold together.

    Attributes:
      modalities: Nodes of the tree; a method fits one of them.
      dimension: '2d', '3d' or None.
      challenges: A method copes with all of them.
    """

    modalities: tuple[str, ...] = ()
    dimension: str | None = None
    challenges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """A method that fits.

    Attributes:
      method: The method.
      why: One sentence; empty where nothing was asked and nothing measured.
      general: Whether it fits only as a general tool, listed for something wider.
      n_pretrained: Trained models (different names) for the modalities asked for, or all.
      score: Best of cellml's measurements, likewise; None is unknown.
    """

    method: Method
    why: str
    general: bool
    n_pretrained: int
    score: float | None


@dataclass(frozen=True)
class SeeAlso:
    """Methods that come near.

    Attributes:
      left_out: What was given up, in words.
      filters: The filters without it.
      matches: What they give.
    """

    left_out: str
    filters: Filters
    matches: tuple[Match, ...]


def resolve_modality(catalogue: Catalogue, text: str) -> tuple[str, ...]:
    """Nodes that an id, or a word such as 'confocal' or 'H&E', stands for.

    Raises:
      UsageError: Unknown; the message suggests what is near.
    """
    wanted = "-".join(text.lower().split())
    found = tuple(n.id for n in catalogue.modalities if wanted == n.id)
    found = found or tuple(n.id for n in catalogue.modalities if wanted in n.words)
    if not found:
        known = [n.id for n in catalogue.modalities]
        words = sorted({word for n in catalogue.modalities for word in n.words})
        raise UsageError(f"--modality {text}: unknown{_suggestion(wanted, [*known, *words])}")
    return found


def resolve_challenge(text: str) -> str:
    """Name of a challenge; UsageError with a suggestion if there is none."""
    wanted = text.lower().strip()
    if wanted not in CHALLENGES:
        raise UsageError(f"--challenge {text}: unknown{_suggestion(wanted, list(CHALLENGES))}")
    return wanted


def _suggestion(wanted: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    near = near or [k for k in known if wanted and (k.startswith(wanted[:3]) or wanted in k)][:3]
    if near:
        return f"; did you mean {' or '.join(near)}? Known: {', '.join(known)}"
    return f"; known: {', '.join(known)}"


def find_matches(catalogue: Catalogue, filters: Filters) -> tuple[Match, ...]:
    """Methods that pass all filters, the best first (see `sort_matches`).

    Args:
      catalogue: Methods and tree.
      filters: What is asked for.
    Returns:
      Matches; empty if there are none.
    """
    found = []
    for method in catalogue.methods:
        inside, above = _hits(catalogue, method, filters.modalities)
        if filters.modalities and not (inside or above):
            continue
        if filters.dimension and not (
            method.two_d if filters.dimension == "2d" else method.three_d
        ):
            continue
        if not all(method.challenges[name] for name in filters.challenges):
            continue
        found.append(_match(catalogue, method, filters, inside, above))
    return sort_matches(found)


def sort_matches(
    matches: Sequence[Match], key: str = "match", *, reverse: bool = False
) -> tuple[Match, ...]:
    """Sorts; numbers as numbers, the largest first, what is unknown always last.

    Args:
      matches: In any order.
      key: One of `SORT_KEYS`. `match`: specific before general methods, then those with most
        trained models, the best score, most challenges, the newest.
      reverse: Turns the order of what is known.
    Returns:
      The matches; ties are in the order of `match`, then in that given.
    Raises:
      UsageError: An unknown key.
    """
    if key not in SORT_KEYS:
        raise UsageError(f"--sort {key}: unknown; known: {', '.join(SORT_KEYS)}")
    base = sorted(matches, key=_relevance)
    if key == "match":
        return tuple(reversed(base) if reverse else base)
    if key == "name":
        return tuple(sorted(base, key=lambda m: m.method.name.lower(), reverse=reverse))
    sign = 1 if reverse else -1
    return tuple(sorted(base, key=lambda m: _number(m, key, sign)))


def _relevance(match: Match) -> tuple[bool, int, float, int, int]:
    score = -1.0 if match.score is None else match.score
    return (match.general, -match.n_pretrained, -score, -n_challenges(match), -match.method.year)


def _number(match: Match, key: str, sign: int) -> tuple[bool, float | int]:
    values: dict[str, float | int | None] = {
        "year": match.method.year,
        "challenges": n_challenges(match),
        "pretrained": match.n_pretrained,
        "score": match.score,
    }
    value = values[key]
    return value is None, 0.0 if value is None else sign * value


def n_challenges(match: Match) -> int:
    """Number of challenges that a method is known to cope with."""
    return sum(bool(copes) for copes in match.method.challenges.values())


def _hits(
    catalogue: Catalogue, method: Method, wanted: Sequence[str]
) -> tuple[list[Modality], list[Modality]]:
    """The method's nodes that are asked for or lie below such, and those that lie above."""
    inside, above = [], []
    for node in catalogue.modalities:
        if node.id not in method.modalities:
            continue
        if wanted and _fits(catalogue, node.id, wanted):
            inside.append(node)
        elif any(node.id in catalogue.ancestors(name) for name in wanted):
            above.append(node)
    return inside, above


def _match(
    catalogue: Catalogue,
    method: Method,
    filters: Filters,
    inside: Sequence[Modality],
    above: Sequence[Modality],
) -> Match:
    """The match and its sentence."""
    wanted = filters.modalities
    trained = [m for m in method.pretrained if _fits(catalogue, m.modality, wanted)]
    n_pretrained = len({model.name for model in trained})
    measured = [m for m in method.measured if _fits(catalogue, m.modality, wanted)]
    best = max(measured, key=lambda m: m.value, default=None)
    parts = []
    if filters.modalities:
        parts.append(
            f"listed for {_named(inside)}" if inside else f"a general tool, for {_named(above)}"
        )
        if n_pretrained:
            parts.append(f"{n_pretrained} trained model{'s' * (n_pretrained > 1)} for it")
    if best:
        parts.append(
            f"mAP {best.value:.3f} measured by cellml on {best.n_images} {best.images} images"
        )
    if filters.dimension:
        parts.append(f"works in {filters.dimension.upper()}")
    if filters.challenges:
        parts.append(f"copes with {_and(filters.challenges)} nuclei")
    why = "; ".join(parts)
    return Match(
        method,
        f"{why[0].upper()}{why[1:]}." if why and not why.startswith("mAP") else why and f"{why}.",
        bool(filters.modalities) and not inside,
        n_pretrained,
        best.value if best else None,
    )


def _fits(catalogue: Catalogue, name: str | None, wanted: Sequence[str]) -> bool:
    """Whether a node is asked for or lies below such; every one where nothing is asked."""
    if not wanted or name is None:
        return not wanted
    return name in wanted or any(above in wanted for above in catalogue.ancestors(name))


def _named(nodes: Sequence[Modality]) -> str:
    names = [node.path for node in nodes]
    more = len(names) - NAMED_MAX
    return _and([*names[:NAMED_MAX], f"{more} more"] if more > 0 else names)


def _and(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def see_also(catalogue: Catalogue, filters: Filters) -> tuple[SeeAlso, ...]:
    """What comes near where nothing matches, or nothing but general tools.

    Args:
      catalogue: Methods and tree.
      filters: What is asked for.
    Returns:
      One group a filter that was left out (two filters where one is not enough), each with at
      least one method that does not match already. Empty where a specific method matches.
    """
    listed = find_matches(catalogue, filters)
    if any(not match.general for match in listed):
        return ()
    known = {match.method.id for match in listed}
    parts = _parts(filters)
    for count in range(1, len(parts) + 1):
        groups = []
        for left_out in combinations(parts, count):
            fewer = _without(filters, left_out)
            matches = tuple(
                match
                for match in find_matches(catalogue, fewer)
                if match.method.id not in known and not match.general
            )
            if matches:
                groups.append(SeeAlso(_and([words for _, words in left_out]), fewer, matches))
        if groups:
            return tuple(groups)
    return ()


def suggested(catalogue: Catalogue, filters: Filters) -> tuple[Method, ...]:
    """Methods that the source suggests to try for these modalities though they are not listed.

    Args:
      catalogue: Methods and tree.
      filters: What is asked for; the dimension and challenges hold as well.
    Returns:
      Methods that are no match, in the catalogue's order.
    """
    if not filters.modalities:
        return ()
    listed = {match.method.id for match in find_matches(catalogue, filters)}
    others = find_matches(catalogue, replace(filters, modalities=()))
    wanted = {
        node.id for node in catalogue.modalities if _fits(catalogue, node.id, filters.modalities)
    }
    kept = {m.method.id for m in others if set(m.method.also_for) & wanted} - listed
    return tuple(method for method in catalogue.methods if method.id in kept)


def _parts(filters: Filters) -> list[tuple[str, str]]:
    """Each filter as (field, words); a challenge is a filter of its own."""
    parts = [("modalities", "the kind of image")] if filters.modalities else []
    if filters.dimension:
        parts.append(("dimension", filters.dimension.upper()))
    return [*parts, *((name, f"'{name}'") for name in filters.challenges)]


def _without(filters: Filters, left_out: Sequence[tuple[str, str]]) -> Filters:
    names = {name for name, _ in left_out}
    return Filters(
        () if "modalities" in names else filters.modalities,
        None if "dimension" in names else filters.dimension,
        tuple(name for name in filters.challenges if name not in names),
    )
