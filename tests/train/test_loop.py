import io
import json
import threading

import jax
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from cellml.train import loop, recorder
from cellml.train.loop import NonFiniteError, fit
from cellml.train.optim import make_optimizer, make_schedule
from cellml.train.prefetch import Prefetcher
from cellml.train.progress import Progress, format_time
from tests.train.killed_run import DATA, run
from tests.train.tasks import batches_of, mlp_task, points, rows


def test_everything_is_written_below_the_workdir(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    exported = []
    config = {"learning_rate": 0.02, "schedule": {"name": "cosine", "steps": 12}}
    state = run(
        tmp_path / "run",
        curves=True,
        tensorboard=True,
        progress=True,
        learning_rate=make_schedule(config),
        evaluate_host=lambda variables: {"norm": np.abs(variables["params"]["a"]["kernel"]).sum()},
        on_checkpoint=lambda state: exported.append(jax.tree.map(np.copy, state)),
        best=("accuracy", "max"),
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    files = {"config.json", "metrics.jsonl", "tensorboard", "checkpoints"}
    assert names == files | {"curves.png", "curves.svg"}
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], "eval/norm" in line) for line in lines] == [
        (3, False), (6, False), (6, True), (9, False), (12, False), (12, True),
    ]  # fmt: skip
    assert lines[0]["train/learning_rate"] == pytest.approx(0.02 * (0.5 + 0.5 * np.cos(np.pi / 6)))
    assert lines[2]["eval/accuracy"] * 64 == pytest.approx(round(lines[2]["eval/accuracy"] * 64))
    saved = json.loads((tmp_path / "run/config.json").read_text())
    assert saved["config"]["model"] == {"hidden": 16}
    assert saved["versions"]["jax"] == jax.__version__
    assert [int(state.step) for state in exported] == [4, 8, 12]
    assert int(state.step) == 12
    tags = event_tags(next((tmp_path / "run/tensorboard").iterdir()).read_bytes())
    assert {("train/loss", 3), ("eval/norm", 12)} <= tags
    out, err = capfd.readouterr()
    assert out == ""
    assert "toy 12/12" in err
    assert "examples/s" in err


def event_tags(data):
    """Reads a TensorBoard file: records of length, checksum, event, checksum."""
    tags, at = set(), 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
        tags |= {(value.tag, event.step) for value in event.summary.value}
        at += 16 + size
    return tags


def test_metrics_are_fetched_after_the_next_step_is_dispatched(tmp_path, monkeypatch):
    events = []
    make, fetch = loop.make_train_step, recorder.fetch_metrics

    def make_logged(*args, **kwargs):
        step = make(*args, **kwargs)
        count = iter(range(1, 100))

        def logged(*step_args):
            events.append(("dispatch", next(count)))
            return step(*step_args)

        return logged

    def fetch_logged(metrics, device_count):
        events.append(("fetch", sum(kind == "fetch" for kind, _ in events) + 1))
        return fetch(metrics, device_count)

    monkeypatch.setattr(loop, "make_train_step", make_logged)
    monkeypatch.setattr(recorder, "fetch_metrics", fetch_logged)
    run(tmp_path, steps=4, eval_every=0, checkpoint_every=0, evaluate=None)
    assert events == [
        ("dispatch", 1), ("dispatch", 2), ("fetch", 1), ("dispatch", 3), ("fetch", 2),
        ("dispatch", 4), ("fetch", 3), ("fetch", 4),
    ]  # fmt: skip


def test_logged_means_weigh_examples_not_steps(tmp_path):
    # Batches of 3 and 9 rows with a frozen model: the mean over 12 rows, not of two means.
    data = points(12)
    parts = [rows(data, np.arange(3)), rows(data, np.arange(3, 12))]
    tx = make_optimizer({"name": "sgd", "learning_rate": 0.0})
    task = mlp_task()
    state = fit(
        task, tx, lambda start: iter(parts[start:]), steps=2, seed=0, workdir=tmp_path,
        init_batch=data, log_every=2, progress=False, curves=False, tensorboard=False,
        devices=jax.local_devices()[:1],
    )  # fmt: skip
    losses = jax.jit(lambda p: task.losses({"params": p}, data, jax.random.key(0), True)[0])
    want = {name: float(s / c) for name, (s, c) in losses(state.params).items()}
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line["train/nll"] == pytest.approx(want["nll"], rel=1e-5)
    assert line["train/square"] == pytest.approx(want["square"], rel=1e-5)


@pytest.mark.parametrize("at", [5, 7, 11])
def test_nan_stops_with_step_and_examples(tmp_path, at):
    chosen = []

    def batches(start):
        for step, batch in enumerate(batches_of(DATA, 16)(start), start):
            if step == at:
                batch = {
                    **batch,
                    "x": np.where(batch["index"][:, None] == batch["index"][4], np.inf, batch["x"]),
                }
                chosen.append(batch["index"].tolist())
            yield batch

    with pytest.raises(
        NonFiniteError, match=rf"step {at + 1}: not finite: .*nan.*index \["
    ) as caught:
        run(tmp_path, batches=batches)
    assert caught.value.step == at + 1
    assert caught.value.index == chosen[0]
    # What is kept on disk is from before.
    assert max(int(p.name) for p in (tmp_path / "checkpoints").iterdir()) <= at


def test_overfits_sixteen_points(tmp_path):
    data = points(16)
    state = fit(
        mlp_task()._replace(weights={"nll": 1.0, "square": 0.0}),
        make_optimizer({"name": "adam", "learning_rate": 0.05}),
        lambda start: iter([data] * (600 - start)),
        steps=600, seed=0, workdir=tmp_path, init_batch=data, log_every=100, progress=False,
        curves=False, tensorboard=False, devices=jax.local_devices()[:1],
    )  # fmt: skip
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["train/loss"] > 0.02
    assert json.loads(lines[-1])["train/loss"] < 2e-3
    assert int(state.step) == 600


def test_batches_that_end_early_and_odd_arguments(tmp_path):
    with pytest.raises(ValueError, match="the batches ended at step 2 of 12"):
        run(tmp_path, batches=lambda start: iter([rows(DATA, np.arange(8))] * 2))
    with pytest.raises(ValueError, match="log_every is 0"):
        run(tmp_path, log_every=0)


def test_errors_of_the_data_reach_the_caller(tmp_path):
    def batches(start):
        yield rows(DATA, np.arange(8))
        raise OSError("truncated image 7.png")

    with pytest.raises(OSError, match=r"truncated image 7\.png"):
        run(tmp_path, batches=batches)
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_prefetching_keeps_order_is_bounded_and_closes():
    made, closed = [], threading.Event()

    def numbers():
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            closed.set()

    with Prefetcher(numbers(), depth=3) as items:
        assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
        # Five taken, three in the queue, one in the thread's hand.
        assert len(made) <= 9
    assert closed.is_set()
    assert list(Prefetcher(iter("abc"))) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="depth 0"):
        Prefetcher(iter(()), depth=0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_and_in_a_file(monkeypatch):
    clock = iter(float(t) for t in range(1000))
    monkeypatch.setattr(Progress, "_now", staticmethod(lambda: next(clock)))
    file = io.StringIO()
    progress = Progress(10, title="toy", stream=file, line_interval_s=0.0)
    for step in range(1, 6):
        progress.advance(step, 8)
    progress.record(5, "train", {"loss": 0.123456, "examples_per_s": 3.0})
    progress.message("hello [b]")
    progress.close()
    # The clock ticks once a look: began at 1 (after the first step), then 2 looks for the speed.
    assert file.getvalue().splitlines()[0].endswith("left  train: loss 0.1235")
    assert "toy 5/10" in file.getvalue()
    assert "hello [b]" in file.getvalue()
    terminal = Terminal()
    progress = Progress(10, title="toy", stream=terminal)
    progress.advance(1, 8)
    progress.advance(2, 8)
    progress.record(2, "train", {"loss": 0.5})
    progress.advance(3, 8)
    progress.record(3, "eval", {"iou": 0.25})
    progress.close()
    assert "3/10" in terminal.getvalue()
    assert "step 3  eval: iou 0.25" in terminal.getvalue()
    assert (format_time(59.6), format_time(3725.0)) == ("1:00", "1:02:05")


def test_no_progress_says_nothing(capfd):
    progress = Progress(3, enabled=False)
    progress.advance(1, 2)
    progress.record(1, "train", {"loss": 1.0})
    progress.close()
    assert capfd.readouterr() == ("", "")


def test_a_group_of_processes_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(NotImplementedError, match="group of 4 processes"):
        run(tmp_path)
