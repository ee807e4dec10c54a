"""AUROC of 270 assays x 16,170 compounds, 87 % missing, against scikit-learn.

    python benchmarks/bench_assays.py [--repeats 5]

scikit-learn is called once an assay (and fold), on the readouts that were tested, as everyone does.
Ours is timed with the layout of the readouts, which several predictors of the same labels share,
and without. Each side runs in a process of its own, in turn; results are compared first.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import (
    Worker,
    describe_machine,
    interleave,
    markdown_row,
    paired_ratio,
    ratio,
)

N_COMPOUNDS, N_ASSAYS = 16_170, 270
TOLERANCE = 1e-6


def screen(n_folds: int) -> tuple[Any, Any, Any]:
    """Labels, scores and folds; assays differ in size and in hits as those of the study do."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (N_COMPOUNDS, N_ASSAYS)
    tested = rng.random(shape) < np.clip(rng.beta(0.5, 3.2, N_ASSAYS), 0.01, 0.9)
    hits = rng.random(shape) < np.clip(rng.gamma(0.7, 0.04, N_ASSAYS), 0.002, 0.5)
    labels = np.where(tested, hits, np.nan).astype(np.float32)
    scores = np.round(rng.random(shape, np.float32) + 0.2 * hits, 4)
    return labels, scores, np.arange(N_COMPOUNDS) % n_folds


class Ours:
    """cellml.metrics.assays."""

    def __init__(self, n_folds: int) -> None:
        """Builds the inputs, and one layout that `reuse` takes."""
        from cellml import platform

        platform.select_device("cpu")
        platform.configure()
        import jax.numpy as jnp

        from cellml.metrics import assay_ranks, assays

        self.assays, self.lay_out = assays, assay_ranks.lay_out_readouts
        self.labels, scores, self.folds = screen(n_folds)
        self.scores = jnp.asarray(scores)
        self.layout = self.lay_out(self.labels, folds=self.folds)

    def auroc(self) -> Any:
        """From labels and scores."""
        layout = self.lay_out(self.labels, folds=self.folds)
        return self.assays.auroc_assays(layout, self.scores)

    def reuse(self) -> Any:
        """Another predictor of labels that are laid out."""
        return self.assays.auroc_assays(self.layout, self.scores)

    def every_score(self) -> Any:
        """AUROC, AP, PR-AUC and three enrichment factors of laid-out labels."""
        return self.assays.score_layout(self.layout, self.scores).auroc


class Sklearn:
    """sklearn.metrics.roc_auc_score in a loop."""

    def __init__(self, n_folds: int) -> None:
        """Builds the inputs."""
        from sklearn.metrics import roc_auc_score

        self.roc_auc_score, self.n_folds = roc_auc_score, n_folds
        self.labels, self.scores, self.folds = screen(n_folds)

    def auroc(self) -> Any:
        """One call an assay and fold."""
        import numpy as np

        found = np.full((N_ASSAYS, self.n_folds), np.nan)
        for fold in range(self.n_folds):
            inside = self.folds == fold
            labels, scores = self.labels[inside], self.scores[inside]
            for assay in range(N_ASSAYS):
                tested = ~np.isnan(labels[:, assay])
                true = labels[tested, assay]
                if 0 < true.sum() < true.size:
                    found[assay, fold] = self.roc_auc_score(true, scores[tested, assay])
        return found

    reuse = every_score = auroc


def main() -> None:
    """Compares, then times."""
    import numpy as np

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(describe_machine("jax", "scikit-learn"))
    print(markdown_row("case", "cellml ms", "sklearn ms", "ratio", "paired", "ratio of CPU"))
    for n_folds in (1, 5):
        with Worker(Ours, n_folds) as ours, Worker(Sklearn, n_folds) as peer:
            found, expected = ours.call("auroc"), peer.call("auroc")
            if (np.isnan(found) != np.isnan(expected)).any():
                raise SystemExit("different assays are undefined")
            if (worst := np.nanmax(np.abs(found - expected))) > TOLERANCE:
                raise SystemExit(f"AUROC differ by {worst:.1e}")
            for method in ("auroc", "reuse", "every_score"):
                sides = {"cellml": ours, "sklearn": peer}
                times = interleave(sides, method, repeats=repeats)
                own, other = times["cellml"], times["sklearn"]
                print(
                    markdown_row(
                        f"{method}, {n_folds} fold(s), difference {worst:.0e}",
                        own.wall_ms,
                        other.wall_ms,
                        ratio(times, "cellml", "sklearn"),
                        paired_ratio(times, "cellml", "sklearn"),
                        other.cpu_ms / own.cpu_ms,
                    )
                )


if __name__ == "__main__":
    main()
