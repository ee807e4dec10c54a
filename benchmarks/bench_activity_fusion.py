"""Condition of fusion: the study of modalities on a simulated screen and on real pairs.

python benchmarks/bench_activity_fusion.py simulated --out DIR
python benchmarks/bench_activity_fusion.py cpjump1 SHARED_DATA --out DIR

`cpjump1` joins the compounds of CPJUMP1 (Cell Painting profiles, mean over plates) to ToxCast's
assays by the skeleton of the InChIKey; assays with at least ten hits and ten misses there stay.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console

from cellml.commands import activity_study
from cellml.commands.activity_inputs import CompoundSource, texts_of
from cellml.data.assay_tables import read_assays
from cellml.data.profile_tables import read_profiles
from cellml.data.scaffolds import inchikey_skeletons
from cellml.data.text_tables import write_csv

MIN_PER_CLASS = 10
SIMULATED = (
    "model.members=1", "model.hidden=[128]", "model.fingerprint.size=1024",
    "model.fingerprint.radius=2", "train.batch_size=32", "train.eval_every_epochs=5",
    "train.checkpoint_every_epochs=1000",
)  # fmt: skip
REAL = (
    "model.members=5", "model.hidden=[64]", "model.fingerprint.size=1024", "train.best=last",
    "train.batch_size=16", "train.eval_every_epochs=10", "train.checkpoint_every_epochs=1000",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("simulated", "cpjump1"))
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--compounds", type=int, default=1200)
    parser.add_argument("--assays", type=int, default=24)
    parser.add_argument("--folds", type=int)
    parser.add_argument("--preset", default="morgan")
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    start = time.perf_counter(), time.process_time()
    if given.what == "simulated":
        assays, features, types = activity_study.simulate(
            given.out / "screen", n_compounds=given.compounds, n_assays=given.assays
        )
        options = activity_study.StudyOptions(
            CompoundSource(assays), features, given.out, folds=given.folds or 3,
            preset=given.preset, epochs=given.epochs, changes=SIMULATED, assay_types=types,
        )  # fmt: skip
    else:
        assays, profiles = join_pairs(given.data, given.out / "pairs")
        options = activity_study.StudyOptions(
            CompoundSource(assays), {"MO": profiles}, given.out, folds=given.folds or 5,
            preset=given.preset, epochs=given.epochs, changes=REAL,
        )  # fmt: skip
    activity_study.run(options, Console())
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    print(f"{wall:.0f} s, {cpu:.0f} CPU seconds")


def join_pairs(data: Path, out: Path) -> tuple[Path, Path]:
    """Writes the compounds that have both, as assays.csv and morphology.csv."""
    plates = sorted((data / "profiles" / "cpjump1").glob("*_normalized_feature_select_*.csv.gz"))
    wells = read_profiles(plates, features_regex=None)
    treated = np.flatnonzero(wells.column("Metadata_pert_type").astype(str) == "trt")
    keys = wells.column("Metadata_InChIKey").astype(str)[treated]
    skeleton = np.array([key[:14] for key in keys])
    toxcast = read_assays(data / "activity" / "moleculenet" / "toxcast.csv.gz")
    theirs = inchikey_skeletons(toxcast.smiles)
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(theirs):
        if key is not None:
            rows.setdefault(key, []).append(row)
    both = [key for key in dict.fromkeys(skeleton.tolist()) if key in rows]
    smiles = [toxcast.smiles[rows[key][0]] for key in both]
    labels = np.array([_readouts(toxcast.labels[rows[key]]) for key in both])
    n_hits, n_misses = (labels == 1).sum(0), (labels == 0).sum(0)
    kept = np.flatnonzero((n_hits >= MIN_PER_CLASS) & (n_misses >= MIN_PER_CLASS))
    profiles = np.array([wells.features[treated[skeleton == key]].mean(0) for key in both])
    columns = {"smiles": pa.array(smiles)}
    columns |= {toxcast.names[j]: pa.array(texts_of(labels[:, j])) for j in kept.tolist()}
    write_csv(out / "assays.csv", pa.table(columns))
    columns = {"smiles": pa.array(smiles)}
    columns |= {f"f{j}": pa.array([f"{v:.6g}" for v in x]) for j, x in enumerate(profiles.T)}
    write_csv(out / "morphology.csv", pa.table(columns))
    known = np.isfinite(labels[:, kept])
    print(
        f"{len(both)} compounds with both, {len(kept)} assays, {known.sum()} readouts, "
        f"{int((labels[:, kept] == 1).sum())} hits, {profiles.shape[1]} features"
    )
    return out / "assays.csv", out / "morphology.csv"


def _readouts(labels: np.ndarray) -> np.ndarray:
    """Of compounds with one skeleton: a hit if any of them is one."""
    known = ~np.isnan(labels)
    return np.where(known.any(0), np.where(known, labels, -1).max(0), np.nan)


if __name__ == "__main__":
    main()
