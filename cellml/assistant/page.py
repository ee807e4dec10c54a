"""The assistant as one HTML page that works without a network and without a server."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import cellml
from cellml.assistant.matching import Filters
from cellml.assistant.methods import CHALLENGE_MEANINGS, Catalogue, Method, read_data
from cellml.data.writers import atomic

SCRIPTS = ("matching.js", "pictures.js", "details.js", "view.js")


def render_page(catalogue: Catalogue, preset: Filters, hints: Sequence[str] = ()) -> str:
    """The page as text.

    Args:
      catalogue: Methods and tree.
      preset: Filters that are set when it opens.
      hints: Sentences on the user's image, shown above the filters.
    Returns:
      HTML that names no outside resource; links to methods are the only addresses.
    """
    scripts = "\n".join(_read(name).replace('"use strict";\n', "") for name in SCRIPTS)
    page = _read("page.html")
    parts = {
        "@@STYLE@@": _read("page.css"),
        "@@DATA@@": _json(page_data(catalogue, preset, hints)),
        "@@SCRIPT@@": f'"use strict";\n{scripts}\nstart();\n',
    }
    for mark, text in parts.items():
        before, _, after = page.partition(mark)
        page = before + text + after
    return page


def write_page(
    path: Path, catalogue: Catalogue, preset: Filters, hints: Sequence[str] = ()
) -> None:
    """Writes the page, whole or not at all.

    Args:
      path: File to write; its folder is made if needed.
      catalogue: As in `render_page`.
      preset: Likewise.
      hints: Likewise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        temporary.write_text(render_page(catalogue, preset, hints), encoding="utf-8")


def page_data(catalogue: Catalogue, preset: Filters, hints: Sequence[str]) -> dict[str, Any]:
    """What the page's script reads.

    Args:
      catalogue: Methods and tree.
      preset: Filters that are set when it opens.
      hints: Sentences on the user's image.
    Returns:
      JSON values.
    """
    corrections = read_data("corrections.json")
    changed: dict[str, list[dict[str, str]]] = {}
    for correction in corrections["corrections"]:
        kept = {key: correction[key] for key in ("field", "reason", "basis")}
        changed.setdefault(str(correction["method"]), []).append(kept)
    own = sum(method.source_id is None for method in catalogue.methods)
    source = corrections["source"]
    return {
        "methods": [method_record(method) for method in catalogue.methods],
        "modalities": [asdict(node) for node in catalogue.modalities],
        "challenges": CHALLENGE_MEANINGS,
        "corrections": changed,
        "preset": asdict(preset),
        "hints": list(hints),
        "facts": f"{len(catalogue.methods) - own} published methods and {own} of cellml",
        "about": [
            f"Methods, kinds of images and challenges: {source['repository']} at "
            f"{source['commit'][:7]} ({source['licence']}), with "
            f"{len(corrections['corrections'])} corrections and additions by cellml, each shown "
            "at its method with the reason. The source ends in 2021.",
            "'Copes with' is what the source says, not a measurement. Italic 'unknown' means that "
            "nobody checked it. cellml's scores are mAP over IoU .50 to .95 as in the 2018 Data "
            "Science Bowl, on whole images of a validation part; methods without one were not "
            "measured by cellml, which says nothing about them.",
            f"Written by cellml {cellml.__version__}. Nothing on this page is sent anywhere.",
        ],
    }


def method_record(method: Method) -> dict[str, Any]:
    """A method as JSON has it."""
    return {**asdict(method), "challenges": dict(method.challenges), "links": dict(method.links)}


def _json(value: Mapping[str, Any]) -> str:
    """JSON that may stand within a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _read(name: str) -> str:
    path = Path(str(resources.files("cellml.assistant") / "page" / name))
    return path.read_text(encoding="utf-8")
