"""What a report on profiles is made from: numbers of every experiment, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from cellml.metrics.neighbours import NeighbourAccuracy
from cellml.metrics.protocols import RetrievalScores
from cellml.metrics.replicates import Reproducibility
from cellml.metrics.sweep import SweepRow, best_of
from cellml.report.embeddings import Embedding

CONTROL = "control"
"""Stands in `WellMaps.mechanisms` for the mechanism of a control."""


class Setting(NamedTuple):
    """Scores at one regularisation of the sphering.

    Attributes:
      regularisation: Lambda; None is without sphering.
      scores: By protocol, "strict" always among them.
    """

    regularisation: float | None
    scores: Mapping[str, RetrievalScores]

    @property
    def strict(self) -> RetrievalScores:
        """Scores under the protocol that the text describes."""
        return self.scores["strict"]


class WellMaps(NamedTuple):
    """Wells in the plane.

    Attributes:
      batches: Batch of each well.
      mechanisms: Mechanism of each well, several joined by |; "" is none, see `CONTROL`.
      maps: By kind ("UMAP", "PCA"): before sphering, and after it where that could be done.
      n_wells: Wells that there are; more than are shown, where a random part was taken.
    """

    batches: Shaped[np.ndarray, " n"]
    mechanisms: Shaped[np.ndarray, " n"]
    maps: Mapping[str, tuple[Embedding, ...]]
    n_wells: int


class StrengthRanking(NamedTuple):
    """Strength of t treatments, in standard deviations of the control wells.

    Attributes:
      space: Profiles that it was measured in, in words.
      treatments: Names.
      mean: Mean over the wells of a treatment; NaN where undefined.
      total: Sum over the wells, as in the dissertation.
      mechanisms: Mechanism of each; "" is none.
      truth: True strength of each, NaN where unknown; None if there is no truth at all.
      rank_correlation: Spearman's, of mean and truth; None without truth.
      in_order: Pairs of treatments of one mechanism and different true strength that the mean ranks
        as the truth does, and all such pairs; None without truth.
    """

    space: str
    treatments: tuple[str, ...]
    mean: Float[np.ndarray, " t"]
    total: Float[np.ndarray, " t"]
    mechanisms: tuple[str, ...]
    truth: Float[np.ndarray, " t"] | None = None
    rank_correlation: float | None = None
    in_order: tuple[int, int] | None = None


class TrainingCurve(NamedTuple):
    """F1 during training, macro-averaged over the classes.

    Attributes:
      place: Epoch (or step) of each evaluation.
      unit: "epoch" or "step".
      train: F1 of training cells as they are, without augmentation; NaN where unknown.
      validation: F1 of the cells that are held out.
    """

    place: Float[np.ndarray, " e"]
    unit: str
    train: Float[np.ndarray, " e"]
    validation: Float[np.ndarray, " e"]


class Replicates(NamedTuple):
    """How well wells find wells of the same treatment.

    Attributes:
      regularisation: As in `Setting`.
      scores: At level "well".
      same_batch: Share of all wells, controls included, whose most similar other well is of the
        same batch.
      nsc: Whether the most similar treatment of another compound shares a label; None without.
      nscb: The same of another compound and batch, one profile a treatment and batch.
      reproducible: Replicates against chance; None where no treatment has any.
    """

    regularisation: float | None
    scores: RetrievalScores
    same_batch: float
    nsc: NeighbourAccuracy | None = None
    nscb: NeighbourAccuracy | None = None
    reproducible: Reproducibility | None = None


@dataclass(frozen=True)
class ExperimentResult:
    """One set of features.

    Attributes:
      name: Of the experiment.
      n_wells: Controls included.
      n_controls: Control wells.
      n_features: Features of a profile.
      n_batches: Different batches.
      settings: The sweep, the profiles as they came first; only those if nothing was sphered.
      default: The regularisation that was fixed beforehand.
      chance_map: Expected mAP of a random ranking.
      chance_batch: Expected `Replicates.same_batch` of a random neighbour.
      replicates: Without sphering, then with the default one.
      maps: For the eye.
      strengths: In one or two spaces, the one to be looked at first; none without controls.
      training: None if the features were not trained here.
      notes: What was left out and why, for people.
    """

    name: str
    n_wells: int
    n_controls: int
    n_features: int
    n_batches: int
    settings: Sequence[Setting]
    default: float
    chance_map: float
    chance_batch: float
    replicates: Sequence[Replicates]
    maps: WellMaps
    strengths: Sequence[StrengthRanking]
    training: TrainingCurve | None
    notes: Sequence[str] = ()

    @property
    def raw(self) -> Setting:
        """The profiles as they came."""
        return self.settings[0]

    @property
    def sphered(self) -> Setting | None:
        """Sphered with the default regularisation, if that could be done."""
        found = [s for s in self.settings if s.regularisation == self.default]
        return found[0] if found else None

    @property
    def best(self) -> Setting:
        """The setting with the highest mAP under `strict`; optimistic, see `metrics.sweep`."""
        rows = [SweepRow(s.regularisation, s.strict) for s in self.settings]
        if all(np.isnan(row.scores.map) for row in rows):
            return self.raw
        chosen = best_of(rows).setting
        return next(s for s in self.settings if s.regularisation == chosen)

    def variants(self) -> dict[str, Setting]:
        """The settings that are compared between experiments, by name."""
        found = {"raw": self.raw}
        if self.sphered is not None:
            found |= {"default lambda": self.sphered, "best lambda": self.best}
        return found


def shown_lambda(regularisation: float | None) -> str:
    """A regularisation in a table."""
    return "none" if regularisation is None else f"{regularisation:g}"
