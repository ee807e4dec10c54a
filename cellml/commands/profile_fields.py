"""What `cellml profile aggregate` reads, wherever features come from: fields with their cells."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from cellml.data.feature_files import SiteKey

TREATMENT = "Metadata_treatment"
KEY_COLUMNS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")


class Site(NamedTuple):
    """The cells of one field, or what a table has of it.

    Attributes:
      key: Plate, well and site; no site where a table has wells only.
      metadata: Texts of the field, named `Metadata_...`.
      features: One row a cell; NaN is a missing number.
      status: A `cellml.data.crops.Status` each; None if not known.
      n_cells: Cells that a row of a table stands for; None: every row is a cell.
    """

    key: SiteKey
    metadata: dict[str, str]
    features: Float[np.ndarray, "n d"]
    status: UInt8[np.ndarray, " n"] | None = None
    n_cells: int | None = None


@runtime_checkable
class FeatureSource(Protocol):
    """Features of a screen, read plate by plate. Picklable.

    Attributes:
      plates: Names, sorted.
      names: Of the features.
      notes: For people.
      what: In words.
      unit: What is counted: "cells", or "rows" of tables that do not say of how many cells.
    """

    plates: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    what: str
    unit: str

    def fingerprint(self, plate: str) -> str:
        """A text that changes when the features of a plate do."""
        ...

    def sites(self, plate: str) -> Iterator[Site]:
        """Yields the fields of a plate, each once."""
        ...
