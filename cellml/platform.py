"""Settings of the process that have to be made before jax is imported: device, XLA flags, logs.

Nothing here imports jax. `cellml.cli`, `launch/` and `tests/conftest.py` call `configure` first.

Environment variables:
  CELLML_XLA_FLAGS: `0` leaves XLA_FLAGS as they are.
"""

import logging
import os
import re
import sys
from importlib import metadata

from cellml.errors import UserError

# jaxlib lowers convolutions on CPU through YNNPACK. The gradient of a convolution with respect to
# its kernel is the slow one: 3x3, 32 -> 32 channels, batch 8 of 128x128, two cores, jaxlib 0.10.2:
# 74 ms, and 31 ms without YNNPACK. An empty list of fusion types turns it off.
YNN_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# An unknown flag aborts the process, so the flag is set only for versions seen to know it.
YNN_JAXLIB_MIN = (0, 9, 2)
YNN_JAXLIB_BELOW = (0, 13)

DEVICES = ("cpu", "gpu")


def jaxlib_version() -> tuple[int, ...]:
    """Returns the installed jaxlib's version, e.g. `(0, 10, 2)`; `()` where there is none."""
    try:
        return tuple(int(part) for part in re.findall(r"\d+", metadata.version("jaxlib"))[:3])
    except metadata.PackageNotFoundError:
        return ()


def cpu_xla_flags(current: str, version: tuple[int, ...]) -> str:
    """Adds the flags that make XLA's CPU code faster for our models.

    Args:
      current: The present value of XLA_FLAGS.
      version: jaxlib's version, see `jaxlib_version`.
    Returns:
      The new value of XLA_FLAGS; `current` itself where it already names the flag, or where this
      jaxlib is not known to have it.
    """
    if YNN_FLAG in current or not YNN_JAXLIB_MIN <= version < YNN_JAXLIB_BELOW:
        return current
    return f"{current} {YNN_FLAG}=".strip()


def configure(*, quiet: bool = True) -> None:
    """Sets XLA's flags and the log levels; call it before jax is imported.

    The flags concern XLA's CPU backend only, and other backends ignore them. Calling it twice, or
    in a process whose user has set XLA_FLAGS, is harmless.

    Args:
      quiet: Lower absl's, orbax's and TensorFlow's chatter to warnings.
    Raises:
      RuntimeError: jax was imported before, so that flags would not be read.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if os.environ.get("CELLML_XLA_FLAGS", "1") != "0":
        wanted = cpu_xla_flags(flags, jaxlib_version())
        if wanted != flags:
            _require_before_jax("cellml.platform.configure()")
            os.environ["XLA_FLAGS"] = wanted
    if quiet:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        for name in ("absl", "orbax", "jax._src.xla_bridge", "tensorflow"):
            logging.getLogger(name).setLevel(logging.WARNING)


def select_device(device: str | None) -> None:
    """Makes jax use one kind of device; call it before jax is imported.

    Args:
      device: "cpu", "gpu", or None for jax's own choice: the accelerator if there is one. jax
        falls back to the CPU without a word where there is no GPU: see `require_device`.
    Raises:
      ValueError: `device` is none of these.
      RuntimeError: jax was imported before.
    """
    if device is None:
        return
    if device not in DEVICES:
        raise ValueError(f"device must be one of {', '.join(DEVICES)}, found {device!r}")
    wanted = "cuda,cpu" if device == "gpu" else "cpu"
    if os.environ.get("JAX_PLATFORMS") != wanted:
        _require_before_jax(f"cellml.platform.select_device({device!r})")
        os.environ["JAX_PLATFORMS"] = wanted


def require_device(device: str | None) -> None:
    """Checks that jax found what `select_device` asked for; imports jax.

    Args:
      device: As in `select_device`.

    Raises:
      UserError: "gpu" was asked for and jax computes elsewhere.
    """
    import jax  # not at the top: this module is imported before jax may be

    if device == "gpu" and jax.default_backend() != "gpu":
        raise UserError(
            f"no GPU: jax {jax.__version__} computes on {jax.default_backend()}; check the driver "
            "with nvidia-smi, and install jax with CUDA: pip install -U 'jax[cuda12]'"
        )


def _require_before_jax(caller: str) -> None:
    if "jax" in sys.modules:
        raise RuntimeError(f"{caller} has to be called before jax is imported")
