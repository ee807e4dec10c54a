"""Training and prediction of the graph network against Chemprop 2, and an ensemble against one.

Training: both take the same molecules in batches of one size through the same network
(`chemprop_v2`: 300 hidden, depth 3), featurised beforehand; a measurement is some steps from
making the batch to updated weights, in Chemprop's case without Lightning around them (which only
makes it faster). Prediction: the commands of both, from a CSV of SMILES to a CSV, everything
included. Chemprop is installed beside cellml, or in an environment of its own:

    python benchmarks/bench_activity.py TOX21.csv [--quick] [--repeats 7]
        [--chemprop-python /path/to/python]
"""

import argparse
import csv
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import (
    Timing,
    Worker,
    describe_machine,
    interleave,
    markdown_row,
    paired_ratio,
    ratio,
)

ROOT = Path(__file__).resolve().parents[1]
BATCH_SIZES = (50, 64)
STEPS = 60


class Ours:
    """cellml's training step, with making its batches."""

    def __init__(self, path: Path, batch_size: int, members: int = 1) -> None:
        import jax

        from cellml.data.assay_tables import read_assays
        from cellml.experiment.activity import activity_spec
        from cellml.experiment.activity_data import describe, training_batches
        from cellml.experiment.activity_presets import chemprop_v2
        from cellml.tasks.activity_training import LossSettings, make_task, scales_of
        from cellml.train.optim import make_optimizer
        from cellml.train.parallel import make_train_step
        from cellml.train.state import create_state

        config = chemprop_v2()
        config.model.members = members
        table = read_assays(path, smiles_column="smiles")
        spec = activity_spec(config, table.names, ())
        start = time.perf_counter()
        described = describe(spec, table.smiles)
        self.featurising_s = time.perf_counter() - start
        labels = table.labels[described.rows].astype(np.float32)
        make = training_batches(described, {"labels": labels}, batch_size=batch_size, seed=0)
        task = make_task(spec, LossSettings(), scales=scales_of(spec, labels), labels=labels)
        tx = make_optimizer(
            {"name": "adam", "learning_rate": 1e-3, "schedule": {"name": "constant"}}
        )
        self.batches = make(0)
        self.state = create_state(jax.random.key(0), task, tx, next(make(0)))
        self.train_step = make_train_step(task, tx, jax.local_devices()[:1])
        self.key, self.jax = jax.random.key(0), jax

    def step(self) -> None:
        """Some training steps."""
        for batch in itertools.islice(self.batches, STEPS):
            self.state, _ = self.train_step(self.state, batch, self.key)
        self.jax.block_until_ready(self.state.params)

    def seconds_of_featurising(self) -> float:
        """Of all molecules."""
        return self.featurising_s


class Chemprop:
    """chemprop's modules and data loader, with their own optimiser."""

    def __init__(self, path: Path, batch_size: int) -> None:
        import types

        sys.modules.setdefault("cuik_molmaker", types.ModuleType("cuik_molmaker"))
        import torch
        from chemprop import data, featurizers, models, nn
        from rdkit import rdBase

        rdBase.DisableLog("rdApp.*")
        smiles, labels = read_table(path)
        points = []
        for text, row in zip(smiles, labels, strict=True):
            try:
                points.append(data.MoleculeDatapoint.from_smi(text, row))
            except RuntimeError:  # not to be read
                continue
        start = time.perf_counter()
        made = data.MoleculeDataset(points, featurizers.SimpleMoleculeMolGraphFeaturizer())
        made.cache = True
        self.featurising_s = time.perf_counter() - start
        self.loader = data.build_dataloader(made, batch_size=batch_size, num_workers=0, seed=0)
        head = nn.BinaryClassificationFFN(n_tasks=labels.shape[1])
        self.model = models.MPNN(nn.BondMessagePassing(), nn.NormAggregation(), head)
        self.model.train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.batches = itertools.chain.from_iterable(itertools.repeat(self.loader))

    def step(self) -> None:
        """Some training steps, as its `training_step`."""
        model = self.model
        for batch in itertools.islice(self.batches, STEPS):
            graphs, atoms, extras, targets, weights, below, above = batch
            mask = targets.isfinite()
            predicted = model.predictor.train_step(model.fingerprint(graphs, atoms, extras))
            loss = model.criterion(
                predicted, targets.nan_to_num(nan=0.0), mask, weights, below, above
            )
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def seconds_of_featurising(self) -> float:
        """Of all molecules."""
        return self.featurising_s


def read_table(path: Path) -> tuple[list[str], np.ndarray]:
    """SMILES and labels, NaN where not tested."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "smiles"]
    labels = [[float(row[n]) if row[n] else np.nan for n in names] for row in rows]
    return [row["smiles"] for row in rows], np.array(labels, np.float32)


def time_commands(sides: dict[str, list[str]], repeats: int) -> dict[str, Timing]:
    """Runs whole commands in turn."""
    results = {name: Timing([], []) for name in sides}
    for _ in range(repeats):
        for name, arguments in sides.items():
            before, start = os.times(), time.perf_counter()
            run_command(arguments)
            after = os.times()
            results[name].wall_s.append(time.perf_counter() - start)
            used = after.children_user + after.children_system
            results[name].cpu_s.append(used - before.children_user - before.children_system)
    return results


def run_command(arguments: list[str]) -> None:
    """Runs a command quietly; its output is shown if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")


def predict_commands(table: Path, folder: Path, python: str) -> dict[str, list[str]]:
    """Trains a model of each briefly, and gives the commands that predict `smiles.csv`."""
    smiles, labels = read_table(table)
    from rdkit import Chem, rdBase

    rdBase.DisableLog("rdApp.*")
    fine = [i for i, text in enumerate(smiles) if Chem.MolFromSmiles(text) is not None]
    few, new = folder / "few.csv", folder / "smiles.csv"
    with few.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", *(f"a{k}" for k in range(labels.shape[1]))])
        for i in fine[:600]:
            writer.writerow([smiles[i], *("" if np.isnan(x) else int(x) for x in labels[i])])
    new.write_text("\n".join(["smiles", *(smiles[i] for i in fine)]) + "\n")
    cellml = [sys.executable, "-m", "cellml.cli", "activity"]
    chemprop = [python, str(ROOT / "benchmarks" / "chemprop_command.py")]
    run_command(
        [*cellml, "train", str(few), "--out", str(folder / "ours"), "--preset", "chemprop_v2",
         "--epochs", "1", "--no-baseline"]
    )  # fmt: skip
    run_command(
        [*chemprop, "train", "--data-path", str(few), "--output-dir", str(folder / "theirs"),
         "--epochs", "3", "--task-type", "classification", "--accelerator", "cpu"]
    )  # fmt: skip
    (model,) = sorted((folder / "theirs").rglob("best.pt"))
    return {
        "cellml": [*cellml, "predict", str(new), "--checkpoint", str(folder / "ours"),
                   "--out", str(folder / "ours.csv")],
        "chemprop": [*chemprop, "predict", "--test-path", str(new), "--model-path", str(model),
                     "--output", str(folder / "theirs.csv"), "--accelerator", "cpu"],
    }  # fmt: skip


def show(title: str, results: dict[str, Timing], work: float, unit: str) -> None:
    """Prints one comparison."""
    ours, peer = results
    print(f"\n{title}\n")
    print(markdown_row("", f"median, {unit}", "best", "processor time, s"))
    print("| --- | --- | --- | --- |")
    for name, timing in results.items():
        speed = [work / (ms / 1e3) for ms in (timing.wall_ms, timing.best_ms)]
        print(markdown_row(name, *speed, timing.cpu_ms / 1e3))
    processor = results[peer].cpu_ms / results[ours].cpu_ms
    best = results[peer].best_ms / results[ours].best_ms
    print(
        f"ratio {ratio(results, ours, peer):.2f}, paired {paired_ratio(results, ours, peer):.2f}, "
        f"best {best:.2f}, processor {processor:.2f}"
    )


def main() -> None:
    """Prints the tables for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--chemprop-python", default=sys.executable)
    options = parser.parse_args()
    repeats = 3 if options.quick else options.repeats
    table: Any = options.table
    print(describe_machine("jax", "torch", "chemprop"))
    for size in BATCH_SIZES:
        with Worker(Ours, table, size) as ours, Worker(Chemprop, table, size) as theirs:
            sides = {"cellml": ours, "chemprop": theirs}
            found = interleave(sides, "step", repeats=repeats, warmup=3)
            featurising = {k: v.call("seconds_of_featurising") for k, v in sides.items()}
        show(f"training, batches of {size}", found, STEPS * size, "molecules/s")
        print("featurising apart, s: ", {k: round(v, 1) for k, v in featurising.items()})
    with Worker(Ours, table, 64, 5) as five, Worker(Ours, table, 64) as one:
        found = interleave({"ensemble of 5": five, "one": one}, "step", repeats=repeats, warmup=3)
    show("an ensemble (aim: above 1 / 2.5)", found, STEPS * 64, "molecules/s")
    with tempfile.TemporaryDirectory() as folder:
        commands = predict_commands(table, Path(folder), options.chemprop_python)
        found = time_commands(commands, repeats)
    show("prediction, from CSV to CSV", found, len(read_table(table)[0]), "molecules/s")


if __name__ == "__main__":
    main()
