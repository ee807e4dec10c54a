"""The installed command as a process: speed of --help, exit codes, doctor, kill and resume."""

import signal
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from cellml import __version__
from cellml.cli import app
from cellml.commands import train
from cellml.errors import UsageError
from tests.cli.fake_model import discs
from tests.cli.test_segment import content


def test_version_and_help():
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).output == f"cellml {__version__}\n"
    for command in ("segment", "evaluate-masks", "doctor"):
        result = runner.invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_profile_lists_its_commands():
    result = CliRunner().invoke(app, ["profile", "--help"])
    assert result.exit_code == 0
    for command in ("init", "prepare", "export", "evaluate"):
        assert command in result.output
        assert CliRunner().invoke(app, ["profile", command, "--help"]).exit_code == 0


def test_help_imports_nothing_heavy(imported_by):
    assert not imported_by("cellml.cli") & {"jax", "numpy", "pandas", "skimage", "tifffile"}


def test_user_error_is_one_line_on_stderr_and_exit_code_2(tmp_path, call_cellml):
    code, out, err = call_cellml("segment", tmp_path, "--out", tmp_path / "out")
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
def weights(tiny_weights) -> Path:
    return tiny_weights(foreground_min=0.4, area_min_px=1)


def test_killed_and_resumed_equals_never_killed(tmp_path, weights, start_cellml, call_cellml):
    (tmp_path / "in").mkdir()
    for i in range(12):
        picture = discs((90 + i, 120), 30, 9, seed=i)
        Image.fromarray(picture).save(tmp_path / "in" / f"{i:02d}.png")
    options = ("--weights", weights, "--tta", "d4", "--rois", "--overlay")
    code, _, err = call_cellml("segment", tmp_path / "in", "--out", tmp_path / "whole", *options)
    assert code == 0, err

    out = tmp_path / "out"
    process = start_cellml("segment", tmp_path / "in", "--out", out, *options)
    deadline = time.monotonic() + 120
    while len(list(out.glob(".cellml/[0-9]*.parquet"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = len(list(out.glob(".cellml/[0-9]*.parquet")))
    assert 2 <= done < 12
    assert not (out / "nuclei.csv").exists()

    code, text, err = call_cellml("segment", tmp_path / "in", "--out", out, *options, "--resume")
    assert code == 0, err
    assert f"{done} done before" in text
    assert content(out) == content(tmp_path / "whole")
