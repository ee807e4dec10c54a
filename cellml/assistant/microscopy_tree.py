"""Makes `data/methods.json` from the microscopy tree of the BIOMAG group and our corrections.

The source (github.com/biomag-lab/microscopy-tree) holds 43 methods and a tree of 18 kinds of
images. `data/corrections.json` says what is read differently, why, and on what grounds; a test runs
this conversion again where the source is at hand.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cellml.errors import UserError

CHALLENGES = {
    "elongated": "m_elongated",
    "concave": "m_concave",
    "deviating": "m_deviating",
    "wobbling": "m_wobbling",
    "heterogeneous": "m_heterogen",
    "fragmented": "m_fragmented",
    "overlapping": "m_overlapping",
}
"""Our name of each challenge, and the source's."""

LINKS = {
    "code": "m_code",
    "paper": "m_paper",
    "paper_3d": "m_3D_paper",
    "site": "m_site",
    "citations": "m_cites",
    "citations_3d": "m_3D_cites",
}


def convert(
    methods: Mapping[str, Any],
    tree: Mapping[str, Any],
    modalities: Sequence[Mapping[str, Any]],
    corrections: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The source's methods in our schema, corrected.

    Args:
      methods: The source's `seg_methods.json`.
      tree: Its `tree.json`.
      modalities: Ours, from `data/modalities.json`.
      corrections: From `data/corrections.json`.
    Returns:
      Records as `cellml.assistant.methods` reads them.
    Raises:
      UserError: A correction names no method or field, or changes nothing.
    """
    nodes = {node["source_id"]: node["id"] for node in modalities}
    inner = {node["parent"] for node in modalities}
    hung: dict[int, list[str]] = {}
    backup: dict[int, list[str]] = {}
    _walk(tree, nodes, inner, hung, backup)
    records = {}
    for source in methods["seg_methods"]:
        number = source["m_id"]
        records[number] = _record(source, nodes, hung.get(number, []), backup.get(number, []))
    for correction in corrections["corrections"]:
        apply(records, correction)
    for record in records.values():
        record["id"] = slug(record["name"])
    return list(records.values())


def _walk(
    node: Mapping[str, Any],
    nodes: Mapping[str, str],
    inner: set[str | None],
    hung: dict[int, list[str]],
    backup: dict[int, list[str]],
) -> None:
    """Collects the leaves at which each method hangs; inner nodes follow from them."""
    name = nodes[node["id"]]
    if name not in inner:
        for number in node["methods"]:
            hung.setdefault(number, []).append(name)
        for number in node["backup_methods"]:
            backup.setdefault(number, []).append(name)
    for child in node["children"]:
        _walk(child, nodes, inner, hung, backup)


def _record(
    source: Mapping[str, Any], nodes: Mapping[str, str], hung: list[str], backup: list[str]
) -> dict[str, Any]:
    """One method, as the source has it."""
    links, handled = source["m_links"], source["m_challenges"]
    return {
        "id": "",
        "source_id": source["m_id"],
        "name": source["m_name"],
        "authors": source["m_author"],
        "year": int(source["m_year"]),
        "venue": source["m_journal"],
        "two_d": source["m_2d"],
        "three_d": source["m_3d"],
        "modalities": hung,
        "also_for": backup,
        "challenges": {ours: handled.get(theirs) for ours, theirs in CHALLENGES.items()},
        "links": {
            ours: link(links[theirs]) if theirs in links else None for ours, theirs in LINKS.items()
        },
        "pretrained": [_pretrained(model, nodes) for model in links.get("m_pretrained", [])],
        "github_stars": None,
        "licence": None,
        "last_checked": None,
        "measured_by_cellml": None,
    }


def _pretrained(model: Mapping[str, Any], nodes: Mapping[str, str]) -> dict[str, Any]:
    given = model["m_link"]
    where = model["m_pr_id"]
    return {
        "name": model["m_pr_name"],
        "modality": nodes.get(where),
        "dimension": "3d" if where == "3d" else None,
        "links": [link(one) for one in ([given] if isinstance(given, str) else given)],
    }


def link(text: str) -> str:
    """A link in the one form that its kind has here (see `rules` in `data/corrections.json`)."""
    text = re.sub(r"^https?://(dx\.)?doi\.org/", "https://doi.org/", text.strip())
    cites = re.search(r"scholar\.google\.com/scholar\?.*\bcites=(\d+)", text)
    if cites:
        return f"https://scholar.google.com/scholar?cites={cites[1]}"
    return re.sub(r"(github\.com/.*)\.git$", r"\1", text)


def slug(name: str) -> str:
    """A short name for links and commands; what follows a colon in a title is left out."""
    words = re.sub(r"[^a-z0-9+]+", "-", name.partition(":")[0].lower()).strip("-")
    return "-".join(words.replace("++", "-plus-plus").split("-")[:6])


def apply(records: dict[int, dict[str, Any]], correction: Mapping[str, Any]) -> None:
    """Changes one field of one record in place.

    Args:
      records: By the source's number.
      correction: `method`, `field` (dots lead into lists and objects), `value`.
    Raises:
      UserError: No such method or field, or nothing would change.
    """
    place = f"correction of {correction['field']} of method {correction['method']}"
    if correction["method"] not in records:
        raise UserError(f"{place}: no such method")
    where: Any = records[correction["method"]]
    *path, last = correction["field"].split(".")
    try:
        for step in path:
            where = where[int(step)] if isinstance(where, list) else where[step]
        before = where[last]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise UserError(f"{place}: no such field") from error
    if before == correction["value"]:
        raise UserError(f"{place}: it changes nothing")
    where[last] = correction["value"]


def rebuild(source: Path, data: Path) -> str:
    """The text of `data/methods.json`.

    Args:
      source: Folder with the source's `seg_methods.json` and `tree.json`.
      data: Folder with our `modalities.json` and `corrections.json`.
    Returns:
      JSON, ending with a line break.
    """

    def read(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    records = convert(
        read(source / "seg_methods.json"),
        read(source / "tree.json"),
        read(data / "modalities.json"),
        read(data / "corrections.json"),
    )
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n"
