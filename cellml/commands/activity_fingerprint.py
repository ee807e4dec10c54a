"""`cellml activity fingerprint`: Morgan fingerprints and RDKit's descriptors of compounds."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cellml.commands.long_work import count, say, showing
from cellml.data.assay_tables import read_smiles
from cellml.data.compound_features import write_features
from cellml.data.fingerprints import rdkit_descriptors, structure_fingerprints
from cellml.data.molecules import require_all, write_rejected
from cellml.errors import UsageError

KINDS = ("morgan", "counts", "descriptors")
ENDINGS = (".npz", ".parquet", ".csv")
REJECTED = "_rejected.csv"
"""Ends the name of the file that says why rows are left out; it begins as that of the features."""


@dataclass(frozen=True)
class FingerprintOptions:
    """What the user asked for.

    Attributes:
      data: A table with a column of SMILES.
      out: A file of one of `ENDINGS`.
      kind: One of `KINDS`.
      radius: Of Morgan fingerprints.
      size: Likewise.
      chirality: Likewise.
      smiles_column: The first column, if None.
      largest_fragment: Leave counter-ions out.
      strict: Stop where a SMILES cannot be read.
      workers: Processes.
    """

    data: Path
    out: Path
    kind: str = "morgan"
    radius: int = 2
    size: int = 2048
    chirality: bool = False
    smiles_column: str | None = None
    largest_fragment: bool = False
    strict: bool = False
    workers: int = 1


def run(options: FingerprintOptions, console: Console) -> int:
    """Writes the features and, beside them, `<name>_rejected.csv`.

    Args:
      options: See `FingerprintOptions`.
      console: Where to print.

    Returns:
      Number of compounds with features.

    Raises:
      UserError: The table or an option cannot be used, or no SMILES can be read.
    """
    if options.kind not in KINDS:
        raise UsageError(f"--kind {options.kind}: one of {', '.join(KINDS)} expected")
    if options.out.suffix not in ENDINGS:
        raise UsageError(f"--out {options.out}: one of {', '.join(ENDINGS)} expected as ending")
    smiles = read_smiles(options.data, smiles_column=options.smiles_column)
    with showing("computing", console) as progress:
        if options.kind == "descriptors":
            found = rdkit_descriptors(
                smiles,
                largest_fragment=options.largest_fragment,
                workers=options.workers,
                progress=progress,
            )
            names, missing = found.names, found.missing
        else:
            try:
                found = structure_fingerprints(
                    smiles,
                    radius=options.radius,
                    size=options.size,
                    counts=options.kind == "counts",
                    chirality=options.chirality,
                    largest_fragment=options.largest_fragment,
                    workers=options.workers,
                    progress=progress,
                )
            except ValueError as error:
                raise UsageError(str(error)) from error
            names, missing = [f"morgan_{i}" for i in range(options.size)], {}
    if options.strict or not len(found.rows):
        require_all(found.rejected, str(options.data))
    write_features(options.out, smiles, found.rows, found.values, names)
    rejected = options.out.with_name(options.out.stem + REJECTED)
    write_rejected(rejected, found.rejected)
    say(console, f"wrote {options.out}: {len(found.rows)} x {found.values.shape[1]}")
    if missing:
        say(
            console, f"{count(len(missing), 'descriptor')} missing for some compounds, as {missing}"
        )
    if found.rejected:
        say(console, f"{count(len(found.rejected), 'row')} left out, see {rejected}")
    return len(found.rows)
