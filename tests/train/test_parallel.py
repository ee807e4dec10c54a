import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellml.train.parallel import pad_batch, replicate, shard_batch, unreplicate
from tests.train.tasks import points


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 40), devices=st.integers(1, 8), least=st.integers(0, 50))
def test_sharding_keeps_every_row_in_order(count, devices, least):
    data = points(count)
    parts = shard_batch(data, devices, rows=least)
    flat = {name: a.reshape(-1, *a.shape[2:]) if devices > 1 else a for name, a in parts.items()}
    total = len(flat["valid"])
    assert total >= max(count, least)
    assert total - max(count, least) < devices
    assert flat["valid"].sum() == count
    for name, array in data.items():
        np.testing.assert_array_equal(flat[name][:count], array)
    np.testing.assert_array_equal(flat["x"][count:], np.repeat(data["x"][:1], total - count, 0))


def test_padding_leaves_the_given_batch_alone():
    data = points(3)
    padded = pad_batch(data, 8)
    assert data["valid"].all()
    assert padded["valid"].tolist() == [True] * 3 + [False] * 5


def test_examples_marked_invalid_stay_so():
    data = points(3)
    data["valid"][1] = False
    assert pad_batch(data, 4)["valid"].tolist() == [True, False, True, False]


def test_valid_is_added_where_it_is_missing():
    assert pad_batch({"x": np.zeros((2, 1))}, 3)["valid"].tolist() == [True, True, False]


@pytest.mark.parametrize(
    "batch",
    [{}, {"x": np.zeros((0, 2))}, {"x": np.zeros(3), "y": np.zeros(2)}, {"x": np.array(1.0)}],
)
def test_odd_batches_are_refused(batch):
    with pytest.raises(ValueError, match=r"one common length|no arrays"):
        shard_batch(batch, 2)


def test_too_many_rows_are_refused():
    with pytest.raises(ValueError, match="cannot pad 5 rows to 4"):
        pad_batch(points(5), 4)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_replicate_and_back(count):
    tree = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": (np.int32(4),)}
    devices = jax.local_devices()[:count]
    back = unreplicate(replicate(tree, devices), count)
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    np.testing.assert_array_equal(back["a"], tree["a"])
    assert back["b"][0] == 4
    assert all(
        isinstance(leaf, np.ndarray) and leaf.flags.owndata for leaf in jax.tree.leaves(back)
    )
