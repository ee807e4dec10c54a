"""Wells of BBBC013 by dose, rows left out: classical, random and trained features.

python benchmarks/score_bbbc013.py PROJECT classical random wsl ... [rows=A,E]

PROJECT is a project of BBBC013 (see RESULTS.md) with `outputs/<features>/profiles/well.parquet`.
A well is scored against the wells of the other rows alone: by its nearest neighbour (cosine), and
by logistic regression that was fitted on the other rows. `rows=` scores the wells of these rows
alone against all others: those that a trained network has not seen.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cellml.data.profile_tables import read_profiles
from cellml.metrics.neighbours import nearest_neighbours, neighbour_accuracy
from cellml.metrics.relations import same_group


def score(path: Path, rows: str = "") -> dict[str, float]:
    """Scores one set of well profiles.

    Args:
      path: well.parquet.
      rows: Rows that are scored, separated by commas, all at a time; each in its turn if empty.
    Returns:
      Accuracies over all 11 dose levels and over three groups of them, and the rank correlation of
      a ridge regression's dose with the true one.
    """
    table = read_profiles([path], features_regex=None)
    x = np.nan_to_num(table.features)
    dose = table.column("Metadata_dose_level").astype(float).astype(int)
    names = table.column("Metadata_row").astype(str)
    row = np.unique(names, return_inverse=True)[1]
    queries = np.ones(len(x), bool)
    if rows:
        queries = np.isin(names, rows.split(","))
        row = np.where(queries, 0, 1)
    group = np.digitize(dose, (3, 6))  # none to weak, middle, saturated
    found = {"wells": float(queries.sum())}
    for name, labels in (("dose", dose), ("group", group)):
        neighbours = nearest_neighbours(x, queries=queries, exclude=row[:, None])
        found[f"1-NN {name}"] = neighbour_accuracy(neighbours, same_group(labels)).accuracy
        right = np.zeros(len(x), bool)
        for held_out in np.unique(row[queries]):
            train, test = row != held_out, row == held_out
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
            right[test] = model.fit(x[train], labels[train]).predict(x[test]) == labels[test]
        found[f"logistic {name}"] = float(right[queries].mean())
        found[f"chance {name}"] = float(np.bincount(labels[queries]).max() / queries.sum())
    predicted = np.zeros(len(x))
    for held_out in np.unique(row[queries]):
        train, test = row != held_out, row == held_out
        model = make_pipeline(StandardScaler(), Ridge(alpha=100.0))
        predicted[test] = model.fit(x[train], dose[train]).predict(x[test])
    found["ridge Spearman"] = float(spearmanr(predicted[queries], dose[queries]).statistic)
    return found


def main(arguments: list[str]) -> None:
    """Prints a row a set of features."""
    project, *rest = arguments
    rows = "".join(text.removeprefix("rows=") for text in rest if text.startswith("rows="))
    for name in (text for text in rest if "=" not in text):
        scores = score(Path(project) / "outputs" / name / "profiles" / "well.parquet", rows)
        print(name, {key: round(value, 3) for key, value in scores.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
