import json
import shutil
import warnings

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from cellml.train import checkpoint as ckpt
from cellml.train.checkpoint import CheckpointError, CheckpointMismatchError
from cellml.train.state import TrainState

TX = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1))


def make_state(step=3, fill=0.5):
    params = {
        "conv": {"kernel": np.full((2, 3), fill, np.float32)},
        "half": np.array([1.5, -2.0], ml_dtypes.bfloat16),
    }
    opt_state = TX.init({k: jnp.asarray(v) for k, v in params["conv"].items()})
    return TrainState(np.asarray(step, np.int32), params, {}, opt_state, None)


def write(workdir, *steps, **kwargs):
    for step in steps:
        ckpt.save(workdir, make_state(step, fill=step / 10), **kwargs)


def damage(workdir, step):
    """Flips bits in the largest data file, as a disk does."""
    folder = workdir / ckpt.FOLDER / str(step) / "state"
    path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def test_round_trip_with_and_without_a_template(tmp_path):
    state = make_state()
    ckpt.save(tmp_path, state, config={"lr": 0.1}, extra={"seed": 1})
    found = ckpt.as_state(ckpt.load(tmp_path, 3), make_state(step=0, fill=9.0))
    assert isinstance(found.opt_state[1][0], type(state.opt_state[1][0]))
    np.testing.assert_array_equal(found.params["conv"]["kernel"], 0.5)
    assert found.params["half"].dtype == ml_dtypes.bfloat16
    bare, config, step = ckpt.restore(tmp_path)
    assert (config, step, bare.ema_params, bare.model_state) == ({"lr": 0.1}, 3, None, {})
    np.testing.assert_array_equal(bare.params["conv"]["kernel"], state.params["conv"]["kernel"])
    versions = ckpt.load(tmp_path, 3).meta["versions"]
    assert {"cellml", "jax", "flax"} <= versions.keys()
    assert ckpt.load(tmp_path, 3).meta["extra"] == {"seed": 1}


def test_damaged_checkpoint_is_passed_over_with_a_message(tmp_path):
    write(tmp_path, 1, 2, 3)
    damage(tmp_path, 3)
    (tmp_path / ckpt.FOLDER / "2" / "meta" / "metadata").write_text("{")
    lines = []
    found = ckpt.load_latest(tmp_path, warn=lines.append)
    assert found is not None
    assert found.meta["step"] == 1
    assert len(lines) == 2
    assert "checkpoints/3" in lines[0]
    assert "checkpoints/2" in lines[1]
    with pytest.warns(UserWarning, match="skipping damaged checkpoint"):
        assert ckpt.restore(tmp_path)[2] == 1
    with pytest.raises(CheckpointError, match="checkpoints/3"):
        ckpt.restore(tmp_path, step=3)
    # A run that goes on must not count the damaged ones among its last.
    ckpt.load_latest(tmp_path, warn=lines.append, set_aside=True)
    write(tmp_path, 2)
    ckpt.prune(tmp_path, keep=1)
    assert ckpt.steps(tmp_path) == [2]
    assert (tmp_path / ckpt.FOLDER / "3.damaged").is_dir()


def test_readable_data_of_another_step_is_damage(tmp_path):
    write(tmp_path, 1, 2)
    folder = tmp_path / ckpt.FOLDER
    shutil.rmtree(folder / "2" / "state")
    shutil.copytree(folder / "1" / "state", folder / "2" / "state")
    with pytest.raises(CheckpointError, match=r"checkpoints/2: .* is damaged \(checksum differs\)"):
        ckpt.load(tmp_path, 2)


def test_missing_data_is_damage(tmp_path):
    write(tmp_path, 1)
    for path in (tmp_path / ckpt.FOLDER / "1" / "state").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        ckpt.load_latest(tmp_path, warn=lambda _: None)


def test_nothing_there(tmp_path):
    assert ckpt.load_latest(tmp_path, warn=pytest.fail) is None
    with pytest.raises(CheckpointError, match="no checkpoint"):
        ckpt.restore(tmp_path / "missing")


def test_last_and_best_are_kept_and_half_written_ones_go(tmp_path):
    for step, score in [(1, 0.2), (2, 0.9), (3, 0.4), (4, float("nan")), (5, 0.3)]:
        ckpt.save(tmp_path, make_state(step), metrics={"iou": score})
    half = tmp_path / ckpt.FOLDER / "6.orbax-checkpoint-tmp"
    half.mkdir()
    assert ckpt.best_step(tmp_path, "iou") == 2
    assert ckpt.best_step(tmp_path, "iou", "min") == 1
    assert ckpt.best_step(tmp_path, "dice") is None
    ckpt.prune(tmp_path, keep=2, best=("iou", "max"))
    assert ckpt.steps(tmp_path) == [2, 4, 5]
    assert not half.exists()
    with pytest.raises(ValueError, match="'most'"):
        ckpt.best_step(tmp_path, "iou", "most")


def test_amending_keeps_the_state(tmp_path):
    write(tmp_path, 1)
    ckpt.amend(tmp_path, 1, metrics={"iou": 0.5}, extra={"seed": 2})
    found = ckpt.load(tmp_path, 1)
    assert (found.meta["metrics"], found.meta["extra"]) == ({"iou": 0.5}, {"seed": 2})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: {**p, "conv": {"kernel": np.zeros((2, 4), np.float32)}},
            r"leaf params/conv/kernel: expected float32\[2, 4\], found float32\[2, 3\]",
        ),
        (
            lambda p: {**p, "half": np.zeros(2, np.float32)},
            r"leaf params/half: expected float32\[2\], found bfloat16\[2\]",
        ),
        (
            lambda p: {**p, "new": np.zeros(1, np.int32)},
            r"leaf params/new: expected int32\[1\], found nothing",
        ),
        (
            lambda p: {"conv": p["conv"]},
            r"leaf params/half: expected nothing, found bfloat16\[2\]",
        ),
    ],
)
def test_another_tree_is_named_leaf_by_leaf(tmp_path, change, message):
    write(tmp_path, 3)
    template = make_state()
    template = template._replace(params=change(template.params))
    with pytest.raises(CheckpointMismatchError, match=message):
        ckpt.as_state(ckpt.load(tmp_path, 3), template)


def test_another_config_is_named_entry_by_entry(tmp_path):
    config = {"lr": 0.1, "model": {"width": 3, "sizes": (1, 2)}, "empty": {}}
    write(tmp_path, 1, config=config)
    found = ckpt.load(tmp_path, 1)
    ckpt.check_config(found, config)
    ckpt.check_config(found, json.loads(json.dumps(config)))
    other = {"lr": 0.1, "model": {"width": 4, "sizes": (1, 2)}, "empty": {}}
    with pytest.raises(CheckpointMismatchError, match=r"model.width: expected 4 .* found 3"):
        ckpt.check_config(found, other)
    ckpt.check_config(found, other, may_differ=frozenset({"model"}))
    with pytest.raises(
        CheckpointMismatchError, match=r"entry extra: expected 1 .* found 'nothing'"
    ):
        ckpt.check_config(found, {**config, "extra": 1})


def test_saving_is_quiet(tmp_path, capfd, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(tmp_path, 1)
        ckpt.load(tmp_path, 1)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
