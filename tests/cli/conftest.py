"""The command as a process of its own, and a network small enough to run in a test."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from cellml.tasks.semantic import Segmenter, SegmenterSpec, save_segmenter

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def start_python() -> Callable[..., subprocess.Popen[str]]:
    """Starts `python <arguments>` on this working tree, on the CPU, with its output in pipes."""

    def start(*arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "COLUMNS": "200"}
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": os.pathsep.join(paths)},
        )

    return start


@pytest.fixture(scope="session")
def start_cellml(start_python) -> Callable[..., subprocess.Popen[str]]:
    """Starts `cellml <arguments>`."""
    return lambda *arguments: start_python("-m", "cellml.cli", *arguments)


@pytest.fixture(scope="session")
def call_cellml(start_cellml) -> Callable[..., tuple[int, str, str]]:
    """Runs `cellml <arguments>` to its end: exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        process = start_cellml(*arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    return call


@pytest.fixture(scope="session")
def imported_by(start_python) -> Callable[[str], set[str]]:
    """Top-level packages that a fresh interpreter has loaded after `import <module>`."""

    def imported(module: str) -> set[str]:
        code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
        process = start_python("-c", code)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return set(out.split())

    return imported


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Callable[..., Path]:
    """Writes an untrained U-Net of few parameters: `tiny_weights(**fields of the spec)`."""

    def write(**fields: Any) -> Path:
        spec = SegmenterSpec(name="tiny", model=(("filters", (4, 8)),), **fields)
        variables = spec.unet().init(jax.random.key(3), jnp.zeros((1, 64, 64, 3), jnp.float32))
        path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
        save_segmenter(path, Segmenter(spec, variables))
        return path

    return write
