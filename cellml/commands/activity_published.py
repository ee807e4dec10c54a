"""Published scores per assay beside ours: a table, a chapter of the report, a CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from cellml.data.score_tables import ScoreTable, read_score_tables
from cellml.data.text_tables import suggestion, write_csv
from cellml.errors import UsageError, UserError
from cellml.report.activity_published import Beside, published_chapter
from cellml.report.html import Chapter

ROWS = "published.csv"


@dataclass(frozen=True)
class PublishedScores:
    """Scores as published with Moshkov et al. 2023.

    Attributes:
      path: The file.
      statistic: Over its folds, "median" or "mean".
      table: Scores, among them `auroc`.
    """

    path: Path
    statistic: str
    table: ScoreTable

    @classmethod
    def read(cls, folder: Path, statistic: str) -> "PublishedScores":
        """Reads `scaffold_<statistic>_AUC.csv` of a folder.

        Args:
          folder: As the study published it: columns assay_id, auc, descriptor.
          statistic: "median" or "mean".

        Returns:
          The scores.

        Raises:
          UserError: There is no such file, or it cannot be read.
        """
        path = folder / f"scaffold_{statistic}_AUC.csv"
        if not path.is_file():
            there = sorted(p.name for p in folder.glob("*.csv")) if folder.is_dir() else []
            raise UsageError(
                f"--published {folder}: no {path.name} (found: {', '.join(there) or 'no CSV'})"
            )
        return cls(path, statistic, read_score_tables([path]))

    def auroc(self, descriptor: str, assays: tuple[str, ...]) -> Float[np.ndarray, " t"]:
        """AUROC of some assays, NaN where undefined or not there.

        Raises:
          UserError: There is no such descriptor.
        """
        scores = self.table.scores
        if descriptor not in scores or "auroc" not in scores[descriptor]:
            raise UserError(
                f"{self.path}: no auroc of predictor {descriptor!r}{suggestion(descriptor, scores)}"
            )
        known = dict(zip(self.table.assays, scores[descriptor]["auroc"].tolist(), strict=True))
        return np.array([known.get(name, np.nan) for name in assays])


def compare_published(
    scores: Path, names: Mapping[str, str], published: PublishedScores, figures: Path
) -> list[Chapter]:
    """Sets the AUROC of each assay beside the published one; writes published.csv beside `scores`.

    Args:
      scores: assays.csv of `cellml activity evaluate`.
      names: Published name of each of our predictors.
      published: See `PublishedScores`.
      figures: Folder for the figures.

    Returns:
      The chapter for the report.

    Raises:
      UserError: A predictor is missing on either side, or no assay is in both.
    """
    ours = read_score_tables([scores])
    pairs = {}
    for name, descriptor in names.items():
        mine = ours.scores.get(name, {}).get(f"auroc_{published.statistic}")
        if mine is None:
            raise UserError(f"{scores}: no auroc of {name!r}{suggestion(name, ours.scores)}")
        pairs[name] = Beside(descriptor, mine, published.auroc(descriptor, ours.assays))
    common = np.isin(ours.assays, published.table.assays)
    if not common.any():
        raise UserError(
            f"{published.path}: none of the assays {', '.join(ours.assays[:3])} ... of {scores}"
        )
    columns = {"assay": pa.array(list(ours.assays))}
    if ours.types:
        columns["type"] = pa.array(list(ours.types))
    for name, pair in pairs.items():
        columns[name] = _texts(pair.ours)
        columns[f"{name}, published"] = _texts(pair.published)
    write_csv(scores.with_name(ROWS), pa.table(columns))
    return [published_chapter(figures, ours.assays, ours.types, pairs, published.statistic)]


def _texts(values: np.ndarray) -> pa.Array:
    return pa.array(["" if np.isnan(value) else f"{value:.7g}" for value in values.tolist()])
