"""The output folder of a run over many images: what is done, what is not, and the joint table.

`.cellml/<stem>.parquet` holds the nuclei of one finished image. It is written last, so an image
counts as done only when all its files are whole; `--resume` trusts nothing else. `run.json` holds
the settings. `nuclei.csv` and `nuclei.parquet` are put together from the parts, one at a time.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cellml.data.images import image_stem
from cellml.data.tables import table_schema
from cellml.data.writers import atomic, remove_temporary, write_json
from cellml.errors import UsageError

PARTS = ".cellml"
TABLE = "nuclei"
CSV_DIGITS = 4


class RunFolder:
    """One run; two at a time in one folder are not supported."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Touches nothing yet.

        Args:
          path: The output folder.
          settings: JSON-able; what decides the results.
        """
        self.path = path
        self._settings = json.loads(json.dumps(settings))

    def begin(self, *, resume: bool) -> None:
        """Starts a new run, which replaces the table of an earlier one, or goes on with it.

        Raises:
          UsageError: Something else is in the way, or `resume` with other settings.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: a file is in the way, --out needs a folder")
        before = self._read_run() if resume else None
        if before is not None and before != self._settings:
            keys = sorted(before.keys() | self._settings.keys())
            differing = [
                f"{key}: {before.get(key)} then, {self._settings.get(key)} now"
                for key in keys
                if before.get(key) != self._settings.get(key)
            ]
            raise UsageError(
                f"{self.path}: cannot resume, the run was made with other settings "
                f"({'; '.join(differing)}); use them again or another --out"
            )
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            remove_temporary(self.path)
            if before is None:
                for part in self._parts.glob("*.parquet"):
                    part.unlink()
            for ending in (".csv", ".parquet"):
                (self.path / f"{TABLE}{ending}").unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error.strerror})") from error
        self.record("running")

    def record(self, state: str, **facts: Any) -> None:
        """Writes run.json; `state` is running, interrupted or complete."""
        content = {"settings": self._settings, "state": state, **facts}
        write_json(self.path / "run.json", content)

    def done_file(self, source: Path) -> int:
        """Returns how many images a file has given, if all of them are done; otherwise 0."""
        stem = image_stem(source)
        for first in (stem, *(f"{stem}_p{'0' * digits}" for digits in (3, 4, 5, 6))):
            facts = self._facts(first)
            if facts is not None:
                stems = facts["stems"]
                return len(stems) if all(self.done(name, source) for name in stems) else 0
        return 0

    def done(self, stem: str, source: Path) -> bool:
        """Whether an image is finished, its files are all there and the source is unchanged."""
        facts = self._facts(stem)
        if facts is None or facts["source"] != _fingerprint(source):
            return False
        return all(
            (self.path / name).is_file() and (self.path / name).stat().st_size == size
            for name, size in facts["outputs"].items()
        )

    def clear(self, stem: str, outputs: Sequence[Path]) -> None:
        """Removes an image's earlier results, so that a failure does not leave old ones."""
        self._part(stem).unlink(missing_ok=True)
        for path in outputs:
            path.unlink(missing_ok=True)

    def commit(
        self,
        stem: str,
        nuclei: pa.Table,
        *,
        source: Path,
        stems: Sequence[str],
        outputs: Sequence[Path],
    ) -> None:
        """Marks an image as done; its files have been written.

        Args:
          stem: Name of the image.
          nuclei: Its table.
          source: The file it came from.
          stems: Names of all images of that file.
          outputs: Files written, inside this folder.
        """
        sizes = {str(path.relative_to(self.path)): path.stat().st_size for path in outputs}
        facts = {"source": _fingerprint(source), "stems": list(stems), "outputs": sizes}
        table = nuclei.replace_schema_metadata({"cellml": json.dumps(facts, sort_keys=True)})
        with atomic(self._part(stem)) as temporary:
            pq.write_table(table, temporary)

    def write_tables(self) -> int:
        """Joins the parts, sorted by name, into nuclei.csv and nuclei.parquet.

        Returns:
          The number of nuclei.
        """
        parts = sorted(self._parts.glob("*.parquet"), key=lambda part: part.stem)
        # One model made all parts: they differ in their channels only, which come last.
        schemas = [pq.read_schema(part).remove_metadata() for part in parts]
        schema = max(schemas, key=len, default=table_schema(1))
        rows = 0
        with (
            atomic(self.path / f"{TABLE}.parquet") as whole,
            atomic(self.path / f"{TABLE}.csv") as text,
            text.open("w", encoding="utf-8", newline="") as sink,
            pq.ParquetWriter(whole, schema) as parquet,
        ):
            lines = csv.writer(sink, lineterminator="\n")
            lines.writerow(schema.names)
            for part in parts:
                table = pq.read_table(part).replace_schema_metadata(None)
                table = pa.concat_tables([schema.empty_table(), table], promote_options="default")
                parquet.write_table(table)
                lines.writerows(zip(*map(_csv_column, table.columns), strict=True))
                rows += len(table)
        return rows

    @property
    def _parts(self) -> Path:
        return self.path / PARTS

    def _part(self, stem: str) -> Path:
        return self._parts / f"{stem}.parquet"

    def _facts(self, stem: str) -> dict[str, Any] | None:
        try:
            metadata = pq.read_schema(self._part(stem)).metadata
            return json.loads(metadata[b"cellml"])
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return None

    def _read_run(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.path / "run.json").read_text(encoding="utf-8"))["settings"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.path / 'run.json'}: cannot be read as a run; start without --resume"
            ) from error


def _csv_column(column: pa.ChunkedArray) -> list[Any]:
    """Cuts floats to the digits worth reading; Parquet keeps them all."""
    values = column.to_pylist()
    if not pa.types.is_floating(column.type):
        return values
    return [None if value is None else round(value, CSV_DIGITS) for value in values]


def _fingerprint(source: Path) -> dict[str, Any]:
    stat = source.stat()
    return {"name": source.name, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
