import os
import subprocess
import sys

import pytest

from cellml import platform
from cellml.errors import UserError


@pytest.fixture(autouse=True)
def restored_environment(monkeypatch):
    for name in ("XLA_FLAGS", "JAX_PLATFORMS", "CELLML_XLA_FLAGS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("CELLML_XLA_FLAGS")


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return subprocess.run(
        [sys.executable, "-c", code], env=clean | env, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("version", [(0, 9, 2), (0, 10, 2), (0, 12, 0)])
def test_flag_is_appended_for_versions_that_know_it(version):
    assert platform.cpu_xla_flags("", version) == f"{platform.YNN_FLAG}="
    assert platform.cpu_xla_flags("--xla_a=1", version) == f"--xla_a=1 {platform.YNN_FLAG}="


@pytest.mark.parametrize("version", [(), (0, 9, 1), (0, 13, 0), (1, 0)])
def test_unknown_jaxlib_gets_no_flag_because_it_would_abort(version):
    assert platform.cpu_xla_flags("--xla_a=1", version) == "--xla_a=1"


def test_what_the_user_set_stays():
    users = f"{platform.YNN_FLAG}=LIBRARY_FUSION_TYPE_DOT"
    assert platform.cpu_xla_flags(users, (0, 10, 2)) == users


def test_adding_twice_is_adding_once():
    once = platform.cpu_xla_flags("", (0, 10, 2))
    assert platform.cpu_xla_flags(once, (0, 10, 2)) == once


def test_installed_jaxlib_accepts_the_flag_and_computes():
    done = run_python(
        "from cellml import platform; platform.configure(); platform.select_device('cpu')\n"
        "import os, jax; print(os.environ['XLA_FLAGS'], jax.numpy.ones(3).sum(), jax.devices())"
    )
    assert done.returncode == 0, done.stderr
    assert "3.0 [CpuDevice(id=0)]" in done.stdout
    assert platform.YNN_FLAG in done.stdout
    assert done.stderr == ""


def test_override_leaves_xla_flags_alone():
    code = "import os; from cellml import platform; platform.configure()"
    code += "; print(os.environ['XLA_FLAGS'])"
    done = run_python(code, CELLML_XLA_FLAGS="0", XLA_FLAGS="--xla_b=2")
    assert done.stdout.strip() == "--xla_b=2"


def test_configure_after_jax_says_so(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setitem(sys.modules, "jax", sys)
    with pytest.raises(RuntimeError, match="before jax is imported"):
        platform.configure()


def test_configure_after_jax_is_harmless_when_nothing_changes(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", sys)
    platform.configure()  # conftest has set the flag


def test_select_device_sets_the_platform(monkeypatch):
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    platform.select_device("gpu")
    assert os.environ["JAX_PLATFORMS"] == "cuda,cpu"
    platform.select_device("cpu")
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    platform.select_device(None)
    assert os.environ["JAX_PLATFORMS"] == "cpu"


def test_unknown_device_names_the_known_ones():
    with pytest.raises(ValueError, match="cpu, gpu, found 'tpu'"):
        platform.select_device("tpu")


def test_a_gpu_that_is_not_there_is_named_and_a_cpu_is_there():
    platform.require_device("cpu")
    platform.require_device(None)
    with pytest.raises(UserError, match=r"no GPU: jax .* computes on cpu"):
        platform.require_device("gpu")
