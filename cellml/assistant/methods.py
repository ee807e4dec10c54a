"""The methods that the assistant knows: read from `data/`, checked, and never half right.

`data/methods.json` is made from the source by `cellml.assistant.microscopy_tree`; cellml's own
models come with the scores of their release (`cellml.assistant.own_models`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from cellml.assistant.microscopy_tree import CHALLENGES, LINKS
from cellml.errors import UserError

YEARS = (1980, 2100)
CHALLENGE_MEANINGS = {
    "elongated": "long, thin nuclei",
    "concave": "nuclei with dents, such as kidneys and rings",
    "deviating": "sizes or shapes that deviate from the rest of the image",
    "wobbling": "outlines that wobble",
    "heterogeneous": "nuclei of uneven brightness or texture",
    "fragmented": "nuclei in several parts",
    "overlapping": "nuclei that overlap",
}


@dataclass(frozen=True)
class Modality:
    """A kind of image: a node of the tree.

    Attributes:
      id: Short name.
      parent: Id of the node above, None for the root.
      source_id: The node's number in the source.
      name: Heading in the tree.
      path: What it is in words, as it stands in a sentence.
      words: What users call it; one word may stand for several nodes.
      examples: Public data sets that the source shows for it.
    """

    id: str
    parent: str | None
    source_id: str
    name: str
    path: str
    words: tuple[str, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Pretrained:
    """A trained model that the source links; `modality` and `dimension` None: it does not say."""

    name: str
    modality: str | None
    dimension: str | None
    links: tuple[str, ...]


@dataclass(frozen=True)
class Licence:
    """Name of a licence and where it was read."""

    name: str
    evidence: str


@dataclass(frozen=True)
class Measurement:
    """A score that cellml measured.

    Attributes:
      modality: Node of the tree, None where none fits.
      images: What was measured on, in words.
      n_images: How many.
      metric: Name of the score.
      value: Of the score, within [0, 1].
      setting: Test-time augmentation.
      source: File that holds the number.
    """

    modality: str | None
    images: str
    n_images: int
    metric: str
    value: float
    setting: str
    source: str


@dataclass(frozen=True)
class Method:
    """A method. None is unknown, everywhere.

    Attributes:
      id: Short name.
      source_id: Number in the source; None for cellml's own.
      name: Of the method, or the title of its paper.
      authors: First author, or several.
      year: Of the publication.
      venue: Journal or meeting.
      two_d: Whether it works on 2D images.
      three_d: Whether on stacks.
      modalities: Nodes of the tree.
      also_for: Nodes for which the source suggests to try it.
      challenges: Name to whether it copes, None where the source is silent.
      links: Kind to address.
      pretrained: Trained models.
      github_stars: Unknown without a network.
      licence: Of the code.
      last_checked: ISO date on which facts were checked against the method's own pages.
      measured: What cellml measured.
    """

    id: str
    source_id: int | None
    name: str
    authors: str
    year: int
    venue: str
    two_d: bool
    three_d: bool
    modalities: tuple[str, ...]
    also_for: tuple[str, ...]
    challenges: Mapping[str, bool | None]
    links: Mapping[str, str | None]
    pretrained: tuple[Pretrained, ...]
    github_stars: int | None
    licence: Licence | None
    last_checked: str | None
    measured: tuple[Measurement, ...]

    @property
    def dimensions(self) -> str:
        """'2D', '3D' or '2D, 3D'."""
        return ", ".join(n for n, has in (("2D", self.two_d), ("3D", self.three_d)) if has)


@dataclass(frozen=True)
class Catalogue:
    """All methods and the tree of modalities."""

    methods: tuple[Method, ...]
    modalities: tuple[Modality, ...]

    @cached_property
    def _nodes(self) -> dict[str, Modality]:
        return {node.id: node for node in self.modalities}

    @cached_property
    def _above(self) -> dict[str, tuple[str, ...]]:
        above: dict[str, tuple[str, ...]] = {}
        for node in self.modalities:  # parents come first
            above[node.id] = () if node.parent is None else (node.parent, *above[node.parent])
        return above

    def modality(self, name: str) -> Modality:
        """The node with this id; KeyError if there is none."""
        return self._nodes[name]

    def ancestors(self, name: str) -> tuple[str, ...]:
        """Ids of the nodes above, the nearest first."""
        return self._above[name]


@cache
def load_catalogue() -> Catalogue:
    """The shipped methods, cellml's own first.

    Raises:
      UserError: The data that came with cellml are damaged.
    """
    from cellml.assistant.own_models import own_records

    nodes = parse_modalities(read_data("modalities.json"), "modalities.json")
    records = [*own_records(), *read_data("methods.json")]
    return Catalogue(parse_methods(records, nodes, "methods.json"), nodes)


def read_data(name: str) -> Any:
    """Content of a JSON file in `cellml/assistant/data`."""
    path = Path(str(resources.files("cellml.assistant") / "data" / name))
    return json.loads(path.read_text(encoding="utf-8"))


def parse_modalities(records: Sequence[Any], where: str) -> tuple[Modality, ...]:
    """Reads the tree.

    Args:
      records: As in `data/modalities.json`: a parent comes before its children.
      where: File, for messages.
    Returns:
      The nodes in order.
    Raises:
      UserError: Not a tree with one root, or a key missing, unknown or of the wrong type.
    """
    nodes: list[Modality] = []
    for number, record in enumerate(records):
        place = f"{where}: modality {number}"
        kinds = {"id": str, "parent": (str, type(None)), "source_id": str, "name": str}
        _check_keys(record, {**kinds, "path": str, "words": list, "examples": list}, place)
        known = {node.id for node in nodes}
        if record["id"] in known:
            raise UserError(f"{place}: {record['id']!r} stands there twice")
        if (record["parent"] is None) != (number == 0):
            raise UserError(f"{place}: exactly the first one has no parent")
        if record["parent"] is not None and record["parent"] not in known:
            raise UserError(f"{place}: parent {record['parent']!r} does not come before it")
        lists = {key: tuple(record[key]) for key in ("words", "examples")}
        nodes.append(Modality(**{**record, **lists}))
    return tuple(nodes)


def parse_methods(
    records: Sequence[Any], nodes: Sequence[Modality], where: str
) -> tuple[Method, ...]:
    """Reads and checks methods.

    Args:
      records: As in `data/methods.json`.
      nodes: The tree that they refer to.
      where: File, for messages.
    Returns:
      The methods in order.
    Raises:
      UserError: A key missing, unknown or of the wrong type; an id or a name twice; a modality
        that the tree has not; a method without modality, dimension or plausible year; a link that
        is none. The message names the method, what was found and what was expected.
    """
    known = {node.id for node in nodes}
    methods: list[Method] = []
    for number, record in enumerate(records):
        method = _method(record, known, f"{where}: method {number}")
        for other in methods:
            if method.id == other.id or method.name == other.name:
                raise UserError(f"{where}: {method.id!r} ({method.name}) stands there twice")
        methods.append(method)
    return tuple(methods)


def _method(record: Any, known: set[str], place: str) -> Method:
    text, maybe = str, (str, type(None))
    kinds: dict[str, Any] = {
        **dict.fromkeys(("id", "name", "authors", "venue"), text),
        **{"source_id": (int, type(None)), "year": int, "two_d": bool, "three_d": bool},
        **{"modalities": list, "also_for": list, "challenges": dict, "links": dict},
        **{"pretrained": list, "github_stars": (int, type(None)), "licence": (dict, type(None))},
        **{"last_checked": maybe, "measured_by_cellml": (list, type(None))},
    }
    _check_keys(record, kinds, place)
    place = f"{place} ({record['id']})"
    if not YEARS[0] <= record["year"] <= YEARS[1]:
        raise UserError(f"{place}: year {record['year']} found, {YEARS[0]} to {YEARS[1]} expected")
    if not record["modalities"]:
        raise UserError(f"{place}: hangs on no modality; at least one expected")
    if not (record["two_d"] or record["three_d"]):
        raise UserError(f"{place}: neither 2D nor 3D")
    for name in [*record["modalities"], *record["also_for"]]:
        if name not in known:
            raise UserError(f"{place}: modality {name!r} is not in the tree")
    _check_keys(record["challenges"], dict.fromkeys(CHALLENGES, (bool, type(None))), place)
    _check_keys(record["links"], dict.fromkeys(LINKS, maybe), place)
    pretrained = tuple(_pretrained(model, known, place) for model in record["pretrained"])
    addresses = [a for a in record["links"].values() if a is not None]
    for address in [*addresses, *(a for model in pretrained for a in model.links)]:
        if not address.startswith(("https://", "http://")) or any(c.isspace() for c in address):
            raise UserError(f"{place}: {address!r} is no link")
    fields = {key: value for key, value in record.items() if key != "measured_by_cellml"}
    fields.update(
        modalities=tuple(record["modalities"]),
        also_for=tuple(record["also_for"]),
        pretrained=pretrained,
        licence=_licence(record["licence"], place),
        measured=tuple(_measurement(m, known, place) for m in record["measured_by_cellml"] or ()),
    )
    return Method(**fields)


def _pretrained(record: Any, known: set[str], place: str) -> Pretrained:
    maybe = (str, type(None))
    _check_keys(record, {"name": str, "modality": maybe, "dimension": maybe, "links": list}, place)
    if record["modality"] is not None and record["modality"] not in known:
        raise UserError(f"{place}: modality {record['modality']!r} is not in the tree")
    if record["dimension"] not in (None, "2d", "3d"):
        raise UserError(f"{place}: dimension {record['dimension']!r} found, 2d or 3d expected")
    return Pretrained(**{**record, "links": tuple(record["links"])})


def _licence(record: Any, place: str) -> Licence | None:
    if record is None:
        return None
    _check_keys(record, {"name": str, "evidence": str}, place)
    return Licence(**record)


def _measurement(record: Any, known: set[str], place: str) -> Measurement:
    kinds = {"modality": (str, type(None)), "images": str, "n_images": int, "metric": str}
    _check_keys(record, {**kinds, "value": float, "setting": str, "source": str}, place)
    if record["modality"] is not None and record["modality"] not in known:
        raise UserError(f"{place}: modality {record['modality']!r} is not in the tree")
    if not 0 <= record["value"] <= 1:
        raise UserError(f"{place}: score {record['value']} found, 0 to 1 expected")
    return Measurement(**record)


def _check_keys(record: Any, kinds: Mapping[str, Any], place: str) -> None:
    """Exactly these keys, with values of these types (a bool is no int)."""
    if not isinstance(record, dict):
        raise UserError(f"{place}: an object expected, {type(record).__name__} found")
    missing, unknown = set(kinds) - set(record), set(record) - set(kinds)
    if missing or unknown:
        raise UserError(f"{place}: missing {sorted(missing)}, unknown {sorted(unknown)}")
    for key, kind in kinds.items():
        value = record[key]
        allowed = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in allowed):
            raise UserError(f"{place}: {key} is {value!r}, {kind} expected")
