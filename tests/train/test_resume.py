"""Stopped and resumed equals never stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from cellml.train import checkpoint
from cellml.train.checkpoint import CheckpointMismatchError
from cellml.train.loop import TrainingInterrupted
from tests.train.killed_run import DATA, run
from tests.train.tasks import batches_of, mlp_task


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run without a stop: its folder and its last state."""
    workdir = tmp_path_factory.mktemp("unbroken")
    return workdir, run(workdir)


def records(workdir: Path):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "train/examples_per_s"} for line in lines]


def assert_same(got, want):
    pairs = zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(want), strict=True)
    for (path, a), b in pairs:
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def stopping_batches(signum: int, at: int):
    def batches(start):
        for step, batch in enumerate(batches_of(DATA, 16)(start), start):
            if step == at:
                os.kill(os.getpid(), signum)
            yield batch

    return batches


# 4 is a checkpoint, 6 an evaluation and 5 neither; each is in the middle of a log window or not.
@pytest.mark.parametrize(
    ("signum", "at"), [(signal.SIGTERM, 4), (signal.SIGINT, 5), (signal.SIGTERM, 3)]
)
def test_signal_writes_a_checkpoint_and_the_run_goes_on(tmp_path, unbroken, signum, at):
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(TrainingInterrupted) as caught:
        run(tmp_path, batches=stopping_batches(signum, at), prefetch=0)
    assert caught.value.step == at + 1
    assert caught.value.exit_code == 128 + signum
    assert checkpoint.steps(tmp_path)[-1] == at + 1
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert_same(run(tmp_path), unbroken[1])
    assert records(tmp_path) == records(unbroken[0])


def test_stop_before_an_evaluation_is_made_up_for_once(tmp_path, unbroken, monkeypatch):
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, batches=stopping_batches(signal.SIGTERM, 5), prefetch=0)
    assert records(tmp_path)[-1]["step"] == 6
    assert not any("eval/accuracy" in line for line in records(tmp_path))
    # Killed between logging the evaluation and noting in the checkpoint that it was done.
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "amend", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path)
    # The run goes on, is killed in step 7 and goes on from step 6 again.
    with pytest.raises(RuntimeError, match="power failure"):
        run(tmp_path, batches=failing_batches(7))
    assert checkpoint.restore(tmp_path)[2] == 6
    assert_same(run(tmp_path), unbroken[1])
    assert records(tmp_path) == records(unbroken[0])
    meta = checkpoint.load(tmp_path, 12).meta
    assert meta["metrics"].keys() == {"accuracy", "mean_logit"}
    assert meta["extra"]["data_position"] == 12


def failing_batches(at: int):
    def batches(start):
        for step, batch in enumerate(batches_of(DATA, 16)(start), start):
            if step == at:
                raise RuntimeError("power failure")
            yield batch

    return batches


def test_a_process_killed_while_saving_goes_on_to_the_same_bits(tmp_path, unbroken):
    command = [sys.executable, "-m", "tests.train.killed_run", str(tmp_path), "8"]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, cwd=root, capture_output=True, check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    # What was logged beyond the checkpoint, and a line that a kill cut in half, has to go.
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "train/loss": 77.0}\n{"step": 9, "tra')
    assert 4 in checkpoint.steps(tmp_path)
    assert_same(run(tmp_path), unbroken[1])
    assert records(tmp_path) == records(unbroken[0])
    names = {path.name for path in (tmp_path / checkpoint.FOLDER).iterdir()}
    assert names == {"8", "12"}


def test_a_finished_run_is_left_alone(unbroken):
    workdir, state = unbroken
    before = (workdir / "metrics.jsonl").read_text()

    def no_batches(start):
        raise RuntimeError("asked for batches")
        yield

    assert_same(run(workdir, batches=no_batches), state)
    assert (workdir / "metrics.jsonl").read_text() == before


def test_other_seed_config_or_model_is_refused(unbroken):
    workdir, _ = unbroken
    with pytest.raises(CheckpointMismatchError, match=r"seed: expected 5 \(now\), found 4"):
        run(workdir, seed=5)
    changed = {"lr": 0.01, "model": {"hidden": 16}}
    with pytest.raises(CheckpointMismatchError, match=r"config entry lr: expected 0.01 .* 0.02"):
        run(workdir, config=changed)
    run(workdir, config=changed, may_differ=["lr"])
    with pytest.raises(
        CheckpointMismatchError,
        match=r"leaf params/a/bias: expected float32\[5\], found float32\[16\]",
    ):
        run(workdir, task=mlp_task(noise=0.3, stats=True, hidden=5))
    with pytest.raises(CheckpointMismatchError, match=r"leaf ema_params/.*: expected nothing"):
        run(workdir, ema_decay=0.0)
    with pytest.raises(ValueError, match=r"holds checkpoints of steps \[8, 12\]"):
        run(workdir, resume=False)


def test_restores_on_another_number_of_devices(tmp_path):
    # Noise off: its key depends on the device.
    task = mlp_task(stats=True)
    devices = jax.local_devices()
    straight = run(tmp_path / "one", task=task)
    run(tmp_path / "moved", task=task, devices=devices[:8], steps=4)
    run(tmp_path / "moved", task=task, devices=devices[:3], steps=8)
    moved = run(tmp_path / "moved", task=task, devices=devices[:1])
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(straight), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
