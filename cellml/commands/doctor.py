"""`cellml doctor`: says what is installed, where things run and what is missing."""

import os
import platform as system
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

import cellml

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "grain",
    "numpy",
    "scikit-image",
    "tifffile",
    "pandas",
    "pyarrow",
)
DATA_FOLDERS = {
    "shared data": ("CELLML_SHARED_DATA", "../shared/data"),
    "built data sets": ("CELLML_DATA_DIR", "./data"),
}
STEP_SIDE_PX = 128


def run(console: Console) -> int:
    """Prints the report.

    Args:
      console: Where to print.

    Returns:
      Always 0: a missing accelerator or folder is news, no failure.
    """
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _report():
        table.add_row(name, value)
    console.print(table)
    return 0


def _report() -> Iterator[tuple[str, str]]:
    yield "cellml", f"{cellml.__version__}, {Path(cellml.__file__).parent}"
    yield "python", f"{sys.version.split()[0]}, {sys.executable}"
    yield "system", f"{system.system()} {system.release()}, {system.machine()}"
    for package in PACKAGES:
        yield package, _version(package)
    yield "memory", _memory()
    yield "cores", str(os.cpu_count())
    yield from _devices()
    for name, (variable, default) in DATA_FOLDERS.items():
        yield name, _folder(variable, default)
    yield from _models()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "NOT INSTALLED"


def _memory() -> str:
    import psutil

    memory = psutil.virtual_memory()
    return f"{memory.available / 2**30:.1f} GiB free of {memory.total / 2**30:.1f} GiB"


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import jax

        devices = jax.devices()
    except Exception as error:  # a broken driver shows as nearly any error; the report goes on
        yield "devices", f"jax finds none: {(str(error).splitlines() or [''])[0]}"
        return
    yield "devices", ", ".join(f"{d.platform}:{d.id} {d.device_kind}" for d in devices)
    if jax.default_backend() == "cpu":
        yield "accelerator", "none used: everything runs on the CPU"
    else:
        yield "accelerator", f"{jax.default_backend()} used"
    flags = os.environ.get("XLA_FLAGS", "")
    yield "XLA_FLAGS", flags or "not set"
    compile_s, step_s = time_step()
    yield "jitted step", f"{1e3 * step_s:.1f} ms (compiled in {compile_s:.1f} s)"


def time_step() -> tuple[float, float]:
    """Times one gradient step of a 3x3 convolution, 16 channels, on 128 x 128 px.

    Returns:
      Seconds to compile, and the best of five runs in seconds.
    """
    import jax
    import jax.numpy as jnp

    image = jnp.ones((1, STEP_SIDE_PX, STEP_SIDE_PX, 16), jnp.float32)
    kernel = jnp.full((3, 3, 16, 16), 0.01, jnp.float32)

    def loss(kernel: jax.Array, image: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        out = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=layout)
        return jnp.mean(jnp.square(out))

    started = time.perf_counter()
    step = jax.jit(jax.grad(loss)).lower(kernel, image).compile()
    compile_s = time.perf_counter() - started
    runs = []
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(step(kernel, image))
        runs.append(time.perf_counter() - started)
    return compile_s, min(runs)


def _folder(variable: str, default: str) -> str:
    given = os.environ.get(variable)
    folder = Path(given or default).expanduser()
    source = f"${variable}" if given else f"default, or set ${variable}"
    return f"{folder.resolve()} ({'found' if folder.is_dir() else 'not found'}; {source})"


def _models() -> Iterator[tuple[str, str]]:
    from cellml.weights.registry import MODELS, shipped_path

    if not MODELS:
        yield "models", "none ship with this installation"
    for name, model in MODELS.items():
        try:
            size = shipped_path(name).stat().st_size / 2**20
            yield f"model {name}", f"{model.summary} ({size:.1f} MiB, hash right)"
        except (ValueError, OSError) as error:
            yield f"model {name}", f"NOT USABLE: {error}"
