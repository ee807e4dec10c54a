"""How far predictions can be trusted, as curves: what is drawn, and what evaluation.json holds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Curve:
    """Readouts in bins.

    Attributes:
      x: Mean probability, or root of the mean squared spread, of each bin.
      y: Share of hits, or root of the mean squared error.
      count: Readouts of each bin, none of them empty.
    """

    x: Sequence[float]
    y: Sequence[float]
    count: Sequence[int]


@dataclass(frozen=True)
class Reliability:
    """Of probabilities.

    Attributes:
      ece: Expected calibration error in ten bins of one width.
      ece_equal_count: Likewise in ten bins of equal size.
      brier: Mean squared distance from what was found.
      brier_of_rate: The same, had the share of hits of each assay been said for all.
      even: Bins of one width.
      equal_count: Bins of equal size.
    """

    ece: float
    ece_equal_count: float
    brier: float
    brier_of_rate: float
    even: Curve
    equal_count: Curve

    @property
    def skill(self) -> float:
        """Share of the squared error of `brier_of_rate` that the predictions save."""
        return 1 - self.brier / self.brier_of_rate if self.brier_of_rate > 0 else float("nan")


@dataclass(frozen=True)
class Spread:
    """Of spreads, such as the standard deviation over an ensemble.

    Attributes:
      curve: Error against spread in bins of equal size; of values in units of the standard
        deviation of each assay's readouts.
      ence: See `cellml.metrics.calibration.spread_error`, over these bins.
      spearman: Rank correlation of error and spread, mean over the assays.
      coverage: By level, share of the readouts within the interval; of values alone.
    """

    curve: Curve
    ence: float
    spearman: float
    coverage: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stratum:
    """Held-out compounds within a range of similarity to the nearest training compound.

    Attributes:
      low: Smallest similarity, inclusive.
      high: Largest, exclusive but for the last stratum.
      compounds: Compounds of this range.
      readouts: Their readouts.
      hits: Hits among them; None where there is no such thing.
      assays: Assays in which the first score is defined.
      scores: By name, the mean over the assays where it is defined; NaN where it is nowhere.
    """

    low: float
    high: float
    compounds: int
    readouts: int
    hits: int | None
    assays: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Trust:
    """Of some predictors.

    Attributes:
      reliability: By predictor.
      spread: By predictor that says one.
      similarity: By predictor, the least similar first.
    """

    reliability: Mapping[str, Reliability] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)
    similarity: Mapping[str, Sequence[Stratum]] = field(default_factory=dict)

    def renamed(self, names: Mapping[str, str]) -> "Trust":
        """The same under the names that a page shows."""
        return Trust(
            {names.get(name, name): one for name, one in self.reliability.items()},
            {names.get(name, name): one for name, one in self.spread.items()},
            {names.get(name, name): one for name, one in self.similarity.items()},
        )

    def joined(self, other: "Trust") -> "Trust":
        """With another's predictors, which take the place of those with the same name."""
        return Trust(
            {**self.reliability, **other.reliability},
            {**self.spread, **other.spread},
            {**self.similarity, **other.similarity},
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values; NaN is null."""
        return _without_nan(asdict(self))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Trust":
        """Reads what `to_json` gave.

        Raises:
          KeyError, TypeError, AttributeError: It is something else.
        """
        reliability, spread, similarity = (
            {name: _with_nan(one) for name, one in record[part].items()}
            for part in ("reliability", "spread", "similarity")
        )
        return cls(
            {
                name: Reliability(
                    **{**one, "even": Curve(**one["even"]),
                       "equal_count": Curve(**one["equal_count"])}
                )
                for name, one in reliability.items()
            },
            {name: Spread(**{**one, "curve": Curve(**one["curve"])}) for name, one in
             spread.items()},
            {
                name: [Stratum(**{**each, "hits": _count(each["hits"])}) for each in strata]
                for name, strata in similarity.items()
            },
        )  # fmt: skip


def curve_of(x: Float[np.ndarray, " b"], y: Float[np.ndarray, " b"], count: np.ndarray) -> Curve:
    """The bins that are not empty, as plain numbers.

    Args:
      x: See `Curve`.
      y: Likewise.
      count: Readouts of each bin.

    Returns:
      The curve.
    """
    some = count > 0
    return Curve(x[some].tolist(), y[some].tolist(), count[some].tolist())


def _count(value: int | float | None) -> int | None:
    return None if value is None or np.isnan(value) else int(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def _with_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_nan(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_nan(each) for each in value]
    return float("nan") if value is None else value
