"""What the report on assays is made from: scores per predictor and assay, and who is joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from cellml.metrics.assay_summary import above

ALL = "all"


@dataclass(frozen=True)
class Fusion:
    """Several single predictors joined.

    Attributes:
      parts: Names of the single ones.
      late: Name of the predictor that joins their predictions; None if there is none.
      early: Name of the one trained on their features side by side, likewise.
    """

    parts: tuple[str, ...]
    late: str | None = None
    early: str | None = None


@dataclass(frozen=True)
class AssayStudy:
    """Predictors of the same assays.

    Attributes:
      assays: Their names.
      auroc: By predictor, one number an assay, NaN where undefined.
      statistic: What these are over the folds, as "median".
      singles: Predictors of one modality each, in order.
      fusions: Sets of them that are joined, small ones first.
      types: Of each assay; empty if unknown.
      others: By name of another score and predictor, one number an assay.
    """

    assays: tuple[str, ...]
    auroc: Mapping[str, Float[np.ndarray, " t"]]
    statistic: str
    singles: tuple[str, ...]
    fusions: tuple[Fusion, ...] = ()
    types: tuple[str, ...] = ()
    others: Mapping[str, Mapping[str, Float[np.ndarray, " t"]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that all names are known.

        Raises:
          ValueError: One is not, or there is no single predictor.
        """
        named = [*self.singles, *(part for fusion in self.fusions for part in fusion.parts)]
        joined = [name for f in self.fusions for name in (f.late, f.early) if name is not None]
        for name in [*named, *joined]:
            if name not in self.auroc:
                raise ValueError(f"no predictor {name!r}, found {', '.join(self.auroc)}")
        if not self.singles:
            raise ValueError("no single predictor")

    def passed(
        self, names: Sequence[str], threshold: float
    ) -> Mapping[str, Bool[np.ndarray, " t"]]:
        """Which assays each predictor passes."""
        return {name: above(self.auroc[name], threshold) for name in names}

    def best(self, names: Sequence[str]) -> Float[np.ndarray, " t"]:
        """Best AUROC of each assay among some predictors, chosen after the fact."""
        return np.fmax.reduce([self.auroc[name] for name in names])  # NaN gives way to a number

    def label(self, fusion: Fusion) -> str:
        """Name of a fusion: its parts, or "all" if those are all of three or more."""
        whole = set(fusion.parts) == set(self.singles) and len(self.singles) > 2
        return ALL if whole else "+".join(fusion.parts)
