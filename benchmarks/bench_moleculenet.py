"""MoleculeNet on scaffold-balanced splits: our presets beside Chemprop 2, several seeds.

Every program gets the same table (rows that RDKit cannot read are left out, Chemprop stops at
them), the same splits file and the same number of epochs; the presets `cellml` and `tanimoto` have
their own. The test part is scored by scikit-learn from the predictions that each has written. The
seed makes the split and the weights. Chemprop is installed beside cellml for this:

    python benchmarks/bench_moleculenet.py FOLDER_WITH_CSVS --out DIR [--sets bbbp bace] [--seeds 3]
        [--chemprop-python /path/to/python of another environment]

What is already in DIR/results.jsonl is not run again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import describe_machine

ROOT = Path(__file__).resolve().parents[1]
CHEMPROP = "chemprop"
OWN_LENGTH = ("cellml", "tanimoto")
"""Presets that are not trained for as many epochs as Chemprop."""


@dataclass(frozen=True)
class Set:
    """A table.

    Attributes:
      targets: Columns; empty for all but the SMILES.
      regression: Else hits and no hits.
      epochs: Of Chemprop and the presets that imitate it.
    """

    targets: tuple[str, ...] = ()
    regression: bool = False
    epochs: int = 30


SETS = {
    "bbbp": Set(),
    "bace": Set(),
    "delaney": Set(regression=True),
    "lipo": Set(regression=True),
    "tox21": Set(epochs=10),
}


def readable(source: Path, target: Path, spec: Set) -> list[str]:
    """Writes the rows that RDKit can read, SMILES first; returns the names of the targets."""
    from rdkit import Chem, rdBase

    rdBase.DisableLog("rdApp.*")
    table = pd.read_csv(source)
    smiles = next(c for c in table.columns if c.lower() in ("smiles", "mol"))
    names = list(spec.targets or [c for c in table.columns if c != smiles])
    names = [c for c in names if pd.api.types.is_numeric_dtype(table[c])]
    fine = [Chem.MolFromSmiles(text) is not None for text in table[smiles]]
    made = table.loc[fine, [smiles, *names]].rename(columns={smiles: "smiles"})
    made.to_csv(target, index=False)
    return names


def call(arguments: Sequence[object], log: Path) -> float:
    """Runs a program, and returns how long it took."""
    start = time.perf_counter()
    with log.open("w") as stream:
        done = subprocess.run(
            [str(a) for a in arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}\nfailed; see {log}")
    return time.perf_counter() - start


def split(data: Path, out: Path, seed: int) -> list[dict]:
    """Makes a scaffold-balanced split, as both programs read it."""
    from cellml.data.scaffolds import murcko_scaffolds
    from cellml.screening.splits import balanced_parts, codes_of

    groups = codes_of(murcko_scaffolds(pd.read_csv(data)["smiles"].tolist()))
    parts = balanced_parts(groups, fractions=(0.8, 0.1, 0.1), seed=seed)
    names = ("train", "val", "test")
    made = [{name: np.flatnonzero(parts == k).tolist() for k, name in enumerate(names)}]
    out.write_text(json.dumps(made))
    return made


def run_ours(data: Path, folder: Path, splits: Path, spec: Set, preset: str, seed: int) -> float:
    """Trains one of our presets."""
    arguments = [
        sys.executable, "-m", "cellml.cli", "activity", "train", data, "--out", folder,
        "--preset", preset, "--splits-file", splits, "--seed", seed, "--no-baseline",
        "--smiles-column", "smiles",
    ]  # fmt: skip
    arguments += ["--kind", "regression" if spec.regression else "binary"]
    if preset not in OWN_LENGTH:
        arguments += ["--epochs", spec.epochs]
    return call(arguments, folder.with_suffix(".log"))


def run_chemprop(
    data: Path, folder: Path, splits: Path, spec: Set, seed: int, python: str
) -> float:
    """Trains Chemprop's default."""
    arguments = [
        python, ROOT / "benchmarks" / "chemprop_command.py", "train", "--data-path", data,
        "--smiles-columns", "smiles", "--splits-file", splits, "--output-dir", folder,
        "--epochs", spec.epochs, "--pytorch-seed", seed, "--accelerator", "cpu",
        "--task-type", "regression" if spec.regression else "classification",
    ]  # fmt: skip
    return call(arguments, folder.with_suffix(".log"))


def predictions_of(folder: Path, names: Sequence[str], test: Sequence[int]) -> np.ndarray:
    """Test predictions in the order of the split."""
    theirs = sorted(folder.rglob("test_predictions.csv"))
    if theirs:
        return pd.read_csv(theirs[0])[list(names)].to_numpy()
    ours = pd.read_csv(next(iter(sorted(folder.rglob("predictions.csv")))))
    return ours.set_index("row").loc[list(test), list(names)].to_numpy()


def score(truth: np.ndarray, predicted: np.ndarray, spec: Set) -> float:
    """RMSE, or the mean AUROC of the targets that have it."""
    from sklearn.metrics import roc_auc_score

    found = []
    for y, p in zip(truth.T, predicted.T, strict=True):
        known = ~np.isnan(y)
        if spec.regression:
            found.append(float(np.sqrt(np.mean((y[known] - p[known]) ** 2))))
        elif 0 < y[known].sum() < known.sum():
            found.append(float(roc_auc_score(y[known], p[known])))
    return statistics.fmean(found)


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--chemprop-python", default=sys.executable)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--programs", nargs="+", default=[CHEMPROP, "chemprop_v2", "cellml"])
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results = args.out / "results.jsonl"
    done = (
        [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    )
    for name in args.sets:
        spec, data = SETS[name], args.out / f"{name}.csv"
        names = readable(args.folder / f"{name}.csv", data, spec)
        truth = pd.read_csv(data)[names].to_numpy(float)
        for seed in range(args.seeds):
            splits = args.out / f"{name}_{seed}.json"
            test = split(data, splits, seed)[0]["test"]
            for program in args.programs:
                key = {"set": name, "seed": seed, "program": program}
                if any(key.items() <= row.items() for row in done):
                    continue
                folder = args.out / f"{name}_{seed}_{program}"
                if program == CHEMPROP:
                    time_s = run_chemprop(data, folder, splits, spec, seed, args.chemprop_python)
                else:
                    time_s = run_ours(data, folder, splits, spec, program, seed)
                found = score(truth[test], predictions_of(folder, names, test), spec)
                done.append({**key, "score": found, "time_s": time_s})
                with results.open("a") as stream:
                    stream.write(json.dumps(done[-1]) + "\n")
                print(json.dumps(done[-1]), flush=True)
    print(describe_machine())
    print(
        "| set | score | " + " | ".join(args.programs) + " |\n|" + "---|" * (2 + len(args.programs))
    )
    for name in args.sets:
        cells = []
        for program in args.programs:
            rows = [r for r in done if r["set"] == name and r["program"] == program]
            scores = [r["score"] for r in rows]
            spread = statistics.stdev(scores) if len(scores) > 1 else float("nan")
            time_s = statistics.median(r["time_s"] for r in rows)
            cells.append(f"{statistics.fmean(scores):.3f} ± {spread:.3f} ({time_s:.0f} s)")
        title = "RMSE" if SETS[name].regression else "AUROC"
        print(f"| {name} | {title} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
