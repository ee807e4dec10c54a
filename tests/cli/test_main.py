"""The installed command as a process: speed of --help, exit codes, doctor, kill and resume."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from PIL import Image
from typer.testing import CliRunner

from cellml import __version__
from cellml.cli import app
from cellml.commands import train
from cellml.errors import UsageError
from cellml.tasks.semantic import Segmenter, SegmenterSpec, save_segmenter
from tests.cli.fake_model import discs
from tests.cli.test_segment import content

COMMAND = [sys.executable, "-m", "cellml.cli"]


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "COLUMNS": "200"}
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(
        [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def call(*arguments: object) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_version_and_help():
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).output == f"cellml {__version__}\n"
    for command in ("segment", "evaluate-masks", "doctor"):
        result = runner.invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_help_imports_nothing_heavy():
    code = (
        "import sys, cellml.cli; "
        "print([m for m in ('jax', 'numpy', 'pandas', 'skimage', 'tifffile') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_user_error_is_one_line_on_stderr_and_exit_code_2(tmp_path):
    code, out, err = call("segment", tmp_path, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {tmp_path}: no images in this folder")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_unknown_model_names_the_known_ones(tmp_path):
    Image.fromarray(discs((30, 30), 15, 5)).save(tmp_path / "a.png")
    result = CliRunner().invoke(
        app, ["segment", str(tmp_path), "--out", str(tmp_path / "o"), "--model", "nope"]
    )
    assert isinstance(result.exception, UsageError)
    assert "unknown model 'nope'" in str(result.exception)
    assert not (tmp_path / "o").exists()


def test_doctor_says_plainly_what_runs_where():
    result = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.exception
    for word in (__version__, "jaxlib", "memory", "jitted step", "shared data"):
        assert word in result.output
    assert "none used: everything runs on the CPU" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config=FILE and --workdir=DIR are needed"),
        (["--config=gone.py", "--workdir=w"], "gone.py"),
        (["--nonsense=1"], "nonsense"),
        (["--config=gone.py", "--workdir=w", "rest"], "cellml train"),
    ],
)
def test_train_refuses_what_it_cannot_use(arguments, message):
    with pytest.raises(UsageError, match=message):
        train.main(arguments)


def test_train_passes_config_and_overrides_on(tmp_path, monkeypatch):
    from cellml import experiment

    (tmp_path / "c.py").write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n    return ConfigDict({'a': {'b': 1}, 'c': 'x'})\n",
        encoding="utf-8",
    )
    seen = []
    monkeypatch.setattr(experiment, "run", lambda *arguments: seen.append(arguments))
    flags = [f"--config={tmp_path / 'c.py'}", "--workdir", str(tmp_path / "w"), "--config.a.b=7"]
    result = CliRunner().invoke(app, ["train", *flags])
    assert result.exit_code == 0, result.exception
    config, workdir = seen[0]
    assert config.to_dict() == {"a": {"b": 7}, "c": "x"}
    assert workdir == tmp_path / "w"
    assert "Usage: cellml train" in CliRunner().invoke(app, ["train", "--help"]).output


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A U-Net of few parameters, untrained."""
    spec = SegmenterSpec(
        name="tiny", model=(("filters", (4, 8)),), foreground_min=0.4, area_min_px=1
    )
    variables = spec.unet().init(jax.random.key(0), jnp.zeros((1, 64, 64, 3), jnp.float32))
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_segmenter(path, Segmenter(spec, variables))
    return path


def test_killed_and_resumed_equals_never_killed(tmp_path, weights):
    (tmp_path / "in").mkdir()
    for i in range(12):
        picture = discs((90 + i, 120), 30, 9, seed=i)
        Image.fromarray(picture).save(tmp_path / "in" / f"{i:02d}.png")
    options = ("--weights", weights, "--tta", "d4", "--rois", "--overlay")
    code, _, err = call("segment", tmp_path / "in", "--out", tmp_path / "whole", *options)
    assert code == 0, err

    out = tmp_path / "out"
    process = start("segment", tmp_path / "in", "--out", out, *options)
    deadline = time.monotonic() + 120
    while len(list(out.glob(".cellml/[0-9]*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = len(list(out.glob(".cellml/[0-9]*.parquet")))
    assert 2 <= done < 12
    assert not (out / "nuclei.csv").exists()

    code, text, err = call("segment", tmp_path / "in", "--out", out, *options, "--resume")
    assert code == 0, err
    assert f"{done} done before" in text
    assert content(out) == content(tmp_path / "whole")
