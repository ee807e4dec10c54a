"""Settings for all tests: strict numbers, eight CPU devices, run-time type checks, shared data."""

import os
from collections.abc import Iterator
from pathlib import Path

from cellml import platform

# Before jax is imported: tests never touch an accelerator, and see eight devices.
platform.select_device("cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()
platform.configure()

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated function of cellml checks types and shapes of its arguments while tests run. The
# hook works on modules imported from here on; cellml and cellml.platform came before.
install_import_hook("cellml", "beartype.beartype")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def _forget_compiled_programs() -> Iterator[None]:
    """Compiled programs of one file are of no use to the next and would fill the memory."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data; a test that asks for it is skipped where there is none."""
    given = os.environ.get("CELLML_SHARED_DATA")
    folder = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no shared data: {folder} is not a folder; set CELLML_SHARED_DATA to one")
    return folder
