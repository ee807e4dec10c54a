"""Reading random batches of single cells: our store against DeepProfiler's PNG strips.

Also against memory-mapped .npy and ArrayRecord, the candidates for the store's own format. All
sides read the same 8-bit cells in the same order from files in the page cache, and are compared
before anything is timed. Reading is single-threaded on all sides.

    python benchmarks/bench_cell_store.py [--quick] [--repeats 9] [--cells 2000] [--side 128]
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import Worker, describe_machine, interleave, markdown_row, paired_ratio

CHANNELS = ("DNA", "RNA", "ER", "AGP", "Mito")
BATCH = 32
BATCHES = 8


def write_all(folder: Path, cells: int, side: int) -> None:
    """Writes smooth noise, which compresses about as well as cells do, in every format."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from scipy.ndimage import gaussian_filter

    from cellml.data.cell_export import cell_rows
    from cellml.data.cell_store_writer import PlateWriter, begin_store, finish_store
    from cellml.data.cell_strips import export_strips

    store = folder / "store"
    begin_store(store, channels=CHANNELS, side_px=side, dtype="uint8", made_by={})
    fields = [str(i) for i in range(-(-cells // 100))]
    writer = PlateWriter(store, "plate", fields)
    records = ArrayRecordWriter(str(folder / "cells.array_record"), "group_size:1,uncompressed")
    for i in range(len(fields)):
        rng = np.random.default_rng(i)
        n = min(100, cells - 100 * i)
        noise = rng.random((n, side, side, len(CHANNELS)), np.float32)
        smooth = gaussian_filter(noise, (0, 3, 3, 0)) + 0.01 * noise
        low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
        pixels = np.rint((smooth - low) / (high - low) * 255).astype(np.uint8)
        centres = rng.uniform(100, 900, (n, 2)).astype(np.float32)
        key = ("plate", f"A{i % 24 + 1:02d}", str(i // 24))
        writer.add(pixels, cell_rows(key, centres, np.zeros(n, np.uint8), treatment="t"))
        for cell in pixels:
            records.write(cell.tobytes())
    records.close()
    writer.finish()
    export_strips(finish_store(store, ["plate"]), folder / "strips", label_field="t")


class Reader:
    """One way to read cells; `step` reads all batches."""

    def __init__(self, kind: str, folder: str, cells: int, side: int) -> None:
        self.shape = (side, side, len(CHANNELS))
        rng = np.random.default_rng(7)
        self.batches = [rng.permutation(cells)[:BATCH] for _ in range(BATCHES)]
        self.out = np.empty((BATCH, *self.shape), np.uint8)
        self.read: Any = getattr(self, f"_open_{kind}")(Path(folder))

    def step(self) -> None:
        """Reads every batch into the same array."""
        for rows in self.batches:
            self.read(rows)

    def checksum(self) -> int:
        """A number that equal cells in equal order share."""
        total = 0
        for rows in self.batches:
            self.read(rows)
            weights = np.arange(1, BATCH + 1)[:, None, None, None]
            total += int((self.out.astype(np.int64) * weights).sum())
        return total

    def _open_store(self, folder: Path) -> Any:
        from cellml.data.cell_store import open_store

        store = open_store(folder / "store")
        return lambda rows: store.read(rows, out=self.out)

    def _open_memory_map(self, folder: Path) -> Any:
        cells = np.load(folder / "store" / "shards" / "plate-0000.npy", mmap_mode="r")
        return lambda rows: np.take(cells, rows, axis=0, out=self.out)

    def _open_array_record(self, folder: Path) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader

        reader = ArrayRecordReader(str(folder / "cells.array_record"))

        def read(rows: np.ndarray) -> None:
            for place, record in zip(self.out, reader.read(rows.tolist()), strict=True):
                place[...] = np.frombuffer(record, np.uint8).reshape(self.shape)

        return read

    def _open_strips(self, folder: Path) -> Any:
        from PIL import Image

        from cellml.data.cell_strips import unpack_strip
        from cellml.data.text_tables import read_text_table

        table = read_text_table(folder / "strips" / "sc-metadata.csv")
        files = [folder / "strips" / name for name in table["Image_Name"].to_pylist()]

        def read(rows: np.ndarray) -> None:
            for place, row in zip(self.out, rows, strict=True):
                with Image.open(files[row]) as file:
                    place[...] = unpack_strip(np.asarray(file))

        return read


def main() -> None:
    """Writes the cells, compares the sides, times them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="500 cells, 3 repeats")
    parser.add_argument("--repeats", type=int, default=9, help="measurements a side")
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--side", type=int, default=128, help="px")
    args = parser.parse_args()
    cells, repeats = (500, 3) if args.quick else (args.cells, args.repeats)
    with tempfile.TemporaryDirectory() as name:
        write_all(Path(name), cells, args.side)
        kinds = ("store", "memory_map", "array_record", "strips")
        workers = {kind: Worker(Reader, kind, name, cells, args.side) for kind in kinds}
        try:
            sums = {kind: worker.call("checksum") for kind, worker in workers.items()}
            if len(set(sums.values())) != 1:
                raise SystemExit(f"the sides read different cells: {sums}")
            results = interleave(workers, "step", repeats=repeats)
        finally:
            for worker in workers.values():
                worker.close()
    print(describe_machine("numpy", "pillow", "array_record"))
    print(f"{cells} cells of {args.side} x {args.side} x {len(CHANNELS)}, batches of {BATCH}\n")
    print(markdown_row("format", "cells/s", "cells per CPU second", "slower than the store"))
    print(markdown_row("---", "---", "---", "---"))
    read = BATCH * BATCHES
    for kind in kinds:
        timing = results[kind]
        slower = paired_ratio(results, "store", kind)
        row = (round(1e3 * read / timing.wall_ms), round(1e3 * read / timing.cpu_ms), slower)
        print(markdown_row(kind, *row))


if __name__ == "__main__":
    main()
