"""SMILES to graph features: our codes against Chemprop's Python featuriser, and our cache.

Both sides parse the same SMILES with the same RDKit, in one thread each, without a cache; the time
of the processor counts. Before anything is timed the features of both are compared. The cache is
compared with our own first run. Chemprop is installed beside cellml for this:

    python benchmarks/bench_molecules.py TOX21.csv [--quick] [--repeats 7] [--column smiles]
"""

import argparse
import csv
import hashlib
import shutil
import statistics
import sys
import tempfile
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import Timing, Worker, describe_machine, interleave, markdown_row

PRESET = "chemprop_v2"


class Ours:
    """cellml's `read_molecules`."""

    def __init__(self, smiles: list[str]) -> None:
        from cellml.data.molecules import read_molecules

        self.smiles, self.read = smiles, read_molecules
        self.cache = Path(tempfile.mkdtemp(prefix="bench-molecules-"))
        read_molecules(smiles[:10])  # imports

    def step(self) -> None:
        """Everything anew."""
        self.read(self.smiles)

    def first(self) -> None:
        """Everything anew, and into an empty cache."""
        shutil.rmtree(self.cache)
        self.read(self.smiles, cache=self.cache)

    def second(self) -> None:
        """Everything from the cache."""
        self.read(self.smiles, cache=self.cache)

    def close(self) -> None:
        """Removes the cache."""
        shutil.rmtree(self.cache)

    def bytes_per_molecule(self) -> float:
        """Size of the codes in memory."""
        molecules = self.read(self.smiles).molecules
        return molecules.nbytes / len(molecules)

    def digest(self) -> str:
        """Of all features but the mass, which Chemprop rounds otherwise for isotopes."""
        from cellml.ops.molecule_features import expand_atoms, expand_bonds

        molecules = self.read(self.smiles).molecules
        atoms = np.asarray(expand_atoms(molecules.atoms, PRESET))[:, :-1].astype(np.uint8)
        bonds = np.asarray(expand_bonds(molecules.bonds, PRESET)).astype(np.uint8)
        made = hashlib.sha256()
        for i in range(len(molecules)):
            own = slice(*molecules.bond_starts[i : i + 2])
            ends = molecules.ends[own]
            made.update(atoms[slice(*molecules.atom_starts[i : i + 2])].tobytes())
            made.update(np.repeat(bonds[own], 2, axis=0).tobytes())
            made.update(np.stack([ends, ends[:, ::-1]], 1).reshape(-1, 2).T.astype("<i4").tobytes())
        return made.hexdigest()


class Chemprop:
    """chemprop's `make_mol` and `SimpleMoleculeMolGraphFeaturizer`."""

    def __init__(self, smiles: list[str]) -> None:
        # Its optional featuriser in C++ is imported unconditionally; it is not what is timed.
        try:
            import cuik_molmaker  # noqa: F401
        except ImportError:
            sys.modules["cuik_molmaker"] = types.ModuleType("cuik_molmaker")
        from chemprop.featurizers import MultiHotAtomFeaturizer, SimpleMoleculeMolGraphFeaturizer
        from chemprop.utils import make_mol
        from rdkit import RDLogger

        RDLogger.DisableLog("rdApp.*")
        self.smiles, self.make = smiles, make_mol
        self.featurise = SimpleMoleculeMolGraphFeaturizer(MultiHotAtomFeaturizer.v2())

    def step(self) -> list:
        """Everything anew; keeps the graphs, as its cache would."""
        graphs = []
        for text in self.smiles:
            try:
                graphs.append(self.featurise(self.make(text)))
            except RuntimeError:  # invalid
                continue
        return graphs

    def digest(self) -> str:
        """As for ours."""
        made = hashlib.sha256()
        for graph in self.step():
            made.update(graph.V[:, :-1].astype(np.uint8).tobytes())
            made.update(graph.E.astype(np.uint8).tobytes())
            made.update(graph.edge_index.astype("<i4").tobytes())
        return made.hexdigest()


def read_column(path: Path, column: str) -> list[str]:
    """The SMILES of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def main() -> None:
    """Prints a table for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="smiles")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    smiles = read_column(options.table, options.column)
    repeats = 3 if options.quick else options.repeats
    if options.quick:
        smiles = smiles[:1000]
    with Worker(Ours, smiles) as ours, Worker(Chemprop, smiles) as chemprop:
        if ours.call("digest") != chemprop.call("digest"):
            raise SystemExit("the features differ")
        size = ours.call("bytes_per_molecule")
        sides = {"cellml": ours, "chemprop": chemprop}
        against = interleave(sides, "step", repeats=repeats)
        first = interleave({"first": ours}, "first", repeats=3)["first"]
        second = interleave({"second": ours}, "second", repeats=9)["second"]
        ours.call("close")
    report(len(smiles), size, against, first, second)


def report(
    count: int, size: float, against: dict[str, Timing], first: Timing, second: Timing
) -> None:
    """Prints the results.

    Args:
      count: Number of molecules.
      size: Bytes of one.
      against: Timings of both sides.
      first: Run that fills the cache.
      second: Run that reads it.
    """
    print(describe_machine("chemprop", "rdkit", "numpy"))
    print(f"{count} molecules, features equal, {size:.0f} bytes a molecule\n")
    print(markdown_row("", "molecules per CPU second"))
    print("| --- | --- |")
    for name, timing in against.items():
        print(markdown_row(name, count / statistics.median(timing.cpu_s)))
    pairs = zip(against["chemprop"].cpu_s, against["cellml"].cpu_s, strict=True)
    print(markdown_row("ratio", statistics.median(theirs / own for theirs, own in pairs)))
    print()
    for kind in ("cpu_ms", "wall_ms"):
        once, again = getattr(first, kind), getattr(second, kind)
        print(f"{kind}: first run {once:.0f}, second {again:.1f}: {once / again:.0f} times")


if __name__ == "__main__":
    main()
