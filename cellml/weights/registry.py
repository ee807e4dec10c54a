"""Models that ship with cellml, by name, with the hash of their file."""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from cellml.weights.store import file_sha256

NUCLEI, CELLS = "nuclei", "cells"
"""Kinds: what finds nuclei in images, and what gives features of single cells."""


class ShippedModel(NamedTuple):
    """A file in `cellml/weights/pretrained`.

    Attributes:
      file: Its name.
      sha256: Of its content.
      summary: One line on what it is.
      kind: `NUCLEI` or `CELLS`.
    """

    file: str
    sha256: str
    summary: str
    kind: str = NUCLEI


MODELS: dict[str, ShippedModel] = {
    "nuclei": ShippedModel(
        file="nuclei.safetensors",
        sha256="5ed216756e5d3b27e4c4bbe0e542fcf2a5b17fe02585a8e457c39a48fe425d8a",
        summary="U-Net for nuclei in fluorescence and stained tissue; trained on DSB2018 (CC0)",
    ),
    "cells": ShippedModel(
        file="cells.safetensors",
        sha256="61f97c6a868717ec33129ebacaad829e7588e679a9f8fa11266043f9a578824b",
        summary="features of Cell Painting cells (DNA, ER, RNA, AGP, Mito); simulated screens",
        kind=CELLS,
    ),
}


def model_names(kind: str) -> tuple[str, ...]:
    """Names of the shipped models of a kind."""
    return tuple(name for name, model in MODELS.items() if model.kind == kind)


def shipped_path(name: str) -> Path:
    """Path of a shipped model's file, after its hash was checked.

    Raises:
      ValueError: The name is unknown, or the file differs from the one that was released.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    model = MODELS[name]
    path = Path(str(resources.files("cellml.weights") / "pretrained" / model.file))
    found = file_sha256(path)
    if found != model.sha256:
        raise ValueError(
            f"{path}: expected SHA-256 {model.sha256}, found {found}; reinstall cellml"
        )
    return path


def resolve_model(name_or_path: str | Path, *, kind: str = NUCLEI) -> Path:
    """Path of a shipped model's file (hash checked), or the given path of a weights file.

    Args:
      name_or_path: A shipped model's name, or a file.
      kind: Which shipped models will do.

    Returns:
      The file.

    Raises:
      ValueError: A bare word that is no shipped model of this kind; the message lists those.
    """
    path, known = Path(name_or_path), model_names(kind)
    if str(name_or_path) in known:
        return shipped_path(str(name_or_path))
    if not path.suffix and not path.exists():
        raise ValueError(
            f"unknown model {str(name_or_path)!r}; known: {', '.join(known)}, or the path of a "
            ".safetensors file"
        )
    return path
