"""Random access to the records of a data set on disk, without TensorFlow."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, SupportsIndex


class RecordSource(Sequence[dict[str, Any]]):
    """Rows of one split of a built data set; which fields they have, its builder says.

    It may be indexed by several threads, and it can be pickled: a copy opens the files anew when it
    is first indexed. grain takes it as a data source.

    Attributes:
      folder: Folder of the data set (the one with dataset_info.json).
      cases: For each row what the data set's index says: its 'id' and facts to select by, such as
        'modality', 'group', 'height', 'width' and 'n_nuclei' of nuclei.
    """

    def __init__(
        self, folder: Path, stored_split: str, rows: Sequence[int], cases: Sequence[dict[str, Any]]
    ):
        """Selects `rows` of the split `stored_split` in `folder`; `cases` describes those rows."""
        self.folder = folder
        self.cases = list(cases)
        self._stored_split = stored_split
        self._rows = [int(row) for row in rows]
        self._opened: tuple[Any, dict[str, Callable[[Any], Any]]] | None = None
        self._lock = threading.Lock()

    @property
    def ids(self) -> list[str]:
        """Names of the rows."""
        return [case["id"] for case in self.cases]

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self._rows)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:  # type: ignore[override]
        """Returns one record.

        Returns:
          Texts and classes as str, arrays as NumPy arrays. Of nuclei: id, modality and group (str),
          image (h, w, c) uint8 or uint16, labels (h, w) uint16.

        Raises:
          IndexError: No such row.
        """
        row = index.__index__()
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        records, plain = self._open()
        record = records[self._rows[row]]
        return {name: convert(record[name]) for name, convert in plain.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yields the records in order."""
        return (self[index] for index in range(len(self)))

    def select(self, ids: Iterable[str]) -> "RecordSource":
        """Returns the rows with the given ids, in the order of this source.

        Raises:
          KeyError: An id is not here.
        """
        wanted = set(ids)
        chosen = [index for index, case in enumerate(self.cases) if case["id"] in wanted]
        if len(chosen) != len(wanted):
            missing = sorted(wanted - set(self.ids))
            raise KeyError(f"{len(missing)} ids are not in {self.folder}, the first: {missing[0]}")
        rows = [self._rows[index] for index in chosen]
        cases = [self.cases[index] for index in chosen]
        return RecordSource(self.folder, self._stored_split, rows, cases)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves open files and the lock behind."""
        return self.__dict__ | {"_opened": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restores; files are opened on first use."""
        self.__dict__.update(state | {"_lock": threading.Lock()})

    def __repr__(self) -> str:
        """Returns number of rows and folder."""
        return f"RecordSource({len(self)} rows of {self.folder})"

    def _open(self) -> tuple[Any, dict[str, Callable[[Any], Any]]]:
        with self._lock:
            if self._opened is None:
                from cellml.datasets.building import open_split  # tfds is slow to import

                self._opened = open_split(self.folder, self._stored_split)
            return self._opened
