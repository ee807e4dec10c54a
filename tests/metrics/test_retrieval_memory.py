"""Scores of many profiles need little memory: in a process of its own, whose peak is its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource, sys
import numpy as np
from cellml.metrics.protocols import evaluate_retrieval
from cellml.metrics.relations import shared_labels

def peak_mb():
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

def score(n):
    rng = np.random.default_rng(0)
    profiles = rng.normal(size=(n, 64)).astype(np.float32)
    relation = shared_labels([f"m{k}" for k in rng.integers(0, n // 8, n)])
    before = peak_mb()
    scores = evaluate_retrieval(profiles, relation)
    assert 0 < scores.map < 1
    return peak_mb() - before

score(300)  # compiles
print(score(6000))
"""


def test_blocks_of_queries_bound_the_memory():
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
    )
    grown_mb = float(found.stdout)
    # 6,000 x 6,000 similarities are 137 MB, and all of them with ranks and masks took 303 MB; in
    # blocks it was 53 MB.
    assert grown_mb < 130
