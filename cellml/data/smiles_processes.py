"""Runs a function of SMILES in several processes, in order."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Progress = Callable[[int, int], None]

CHUNK = 500
"""SMILES handed over at a time: some hundredths of a second of work."""


def map_smiles(
    work: Callable[[list[str]], list[Result]],
    smiles: Sequence[str],
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Result]:
    """Applies a function to chunks of SMILES.

    Args:
      work: From a list of SMILES to a list of as many results. With several workers it runs in
        other processes and has to be picklable: a function of a module.
      smiles: Any number.
      workers: Processes; 1 stays in this one. Short lists stay here too.
      progress: Called with the number of SMILES done and of all, after every chunk.

    Returns:
      One result each, in the order of `smiles`.

    Raises:
      ValueError: `workers` is below 1.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}, at least 1 expected")
    chunks = [list(smiles[i : i + CHUNK]) for i in range(0, len(smiles), CHUNK)]
    results: list[Result] = []

    def collect(found: list[Result]) -> None:
        results.extend(found)
        if progress is not None:
            progress(len(results), len(smiles))

    if workers == 1 or len(chunks) < 2:
        for chunk in chunks:
            collect(work(chunk))
        return results
    context = multiprocessing.get_context("spawn")  # a fork would copy JAX's threads
    with ProcessPoolExecutor(min(workers, len(chunks)), mp_context=context) as pool:
        for found in pool.map(work, chunks):
            collect(found)
    return results
