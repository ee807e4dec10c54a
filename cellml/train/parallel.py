"""Devices: the only file that replicates, shards and calls `jax.pmap`.

On one device it is a plain `jax.jit` without a device axis: same step, less overhead, and nothing
folded into the key. On several, the state lies on every device with a leading device axis, a batch
is cut along its rows, and device i draws from `fold_in(key, i)`.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax
from flax import jax_utils
from jaxtyping import PyTree

from cellml.train.state import TrainState
from cellml.train.step import eval_step, train_step
from cellml.types import Batch, Key, Loss, Task, Variables

AXIS = "devices"

DeviceMetrics = PyTree
"""Metrics of a compiled step, not waited for; with a device axis if there are several."""

Ratio = tuple[float | np.ndarray, float | np.ndarray]
"""A fetched `(sum, count)`; vectors are per class, see `cellml.types.Task.metrics`."""

TrainFn = Callable[[PyTree, Batch, Key], tuple[PyTree, DeviceMetrics]]
EvalFn = Callable[[PyTree, Batch], DeviceMetrics]


def pad_batch(batch: Batch, rows: int) -> dict[str, np.ndarray]:
    """Pads a batch to `rows` examples that do not count.

    Args:
      batch: Host arrays with the same leading axis b >= 1.
      rows: Number of examples afterwards, at least b.

    Returns:
      The arrays, padded by repeating row 0 (real values, so that no padding row turns into NaN),
      and `valid`, which is False for the added rows.

    Raises:
      ValueError: The batch is empty, its arrays disagree in length, or there are more than `rows`.
    """
    arrays = {name: np.asarray(array) for name, array in batch.items()}
    count = batch_rows(arrays)
    if count > rows:
        raise ValueError(f"cannot pad {count} rows to {rows}")
    arrays.setdefault("valid", np.ones(count, np.bool_))
    extra = rows - count
    if not extra:
        return arrays
    padded = {
        name: np.concatenate([array, np.repeat(array[:1], extra, axis=0)])
        for name, array in arrays.items()
    }
    padded["valid"][count:] = False
    return padded


def batch_rows(batch: Batch) -> int:
    """Length of the leading axis of a batch.

    Raises:
      ValueError: There is none, it is 0, or the arrays disagree.
    """
    lengths = {name: (array.shape[0] if array.ndim else -1) for name, array in batch.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < 1:
        raise ValueError(f"a batch needs arrays of one common length >= 1, found {lengths}")
    return next(iter(lengths.values()))


def batch_examples(batch: Batch) -> int:
    """Number of examples that count: where `valid` says which, else the rows.

    A batch of graphs has one row a part, and many examples in it.

    Raises:
      ValueError: As `batch_rows`.
    """
    valid = batch.get("valid")
    return batch_rows(batch) if valid is None else int(np.count_nonzero(valid))


def shard_batch(batch: Batch, device_count: int, *, rows: int = 0) -> dict[str, np.ndarray]:
    """Pads a batch and cuts it into one part per device.

    Args:
      batch: Host arrays of b rows.
      device_count: d; with 1 no device axis is added.
      rows: Pad to at least so many rows, so that a short last batch compiles nothing anew.

    Returns:
      Arrays of shape (d, r / d, ...), r the least multiple of d with r >= max(b, rows);
      (r, ...) for one device.
    """
    wanted = max(batch_rows(batch), rows)
    per_device = -(-wanted // device_count)
    padded = pad_batch(batch, per_device * device_count)
    if device_count == 1:
        return padded
    return {
        name: array.reshape(device_count, per_device, *array.shape[1:])
        for name, array in padded.items()
    }


def replicate(tree: PyTree, devices: Sequence[jax.Device]) -> PyTree:
    """Puts a tree on every device, with a leading device axis if there are several."""
    if len(devices) == 1:
        return jax.device_put(tree, devices[0])
    return jax_utils.replicate(tree, devices=list(devices))


def unreplicate(tree: PyTree, device_count: int) -> PyTree:
    """The first device's copy on the host, as NumPy arrays of its own without a device axis."""
    if device_count > 1:
        # The shard itself: indexing the whole array would dispatch a computation for each leaf.
        tree = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, tree)
    host = jax.device_get(tree)
    # Copied, because on CPU these are views of device memory, which the next step is given.
    return jax.tree.map(lambda leaf: np.array(leaf[0] if device_count > 1 else leaf), host)


def make_train_step(
    task: Task,
    tx: optax.GradientTransformation,
    devices: Sequence[jax.Device],
    *,
    ema_decay: float = 0.0,
) -> TrainFn:
    """Compiles `train_step` for these devices.

    Args:
      task: What is trained.
      tx: The optimiser.
      devices: At least one.
      ema_decay: See `train_step`.

    Returns:
      `(state, batch, key) -> (state, metrics)`. The state comes from `replicate` and is donated
      (its buffers are reused: do not touch it afterwards), the batch from `shard_batch`; pass the
      metrics to `fetch_metrics`.
    """
    if len(devices) == 1:

        def single(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, dict[str, Loss]]:
            return train_step(task, tx, state, batch, key, ema_decay=ema_decay)

        return jax.jit(single, donate_argnums=0)

    def parallel(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, dict[str, Loss]]:
        key = jax.random.fold_in(key, jax.lax.axis_index(AXIS))
        return train_step(task, tx, state, batch, key, axis_name=AXIS, ema_decay=ema_decay)

    return jax.pmap(
        parallel, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=0, devices=list(devices)
    )


def make_eval_step(task: Task, devices: Sequence[jax.Device]) -> EvalFn:
    """Compiles `eval_step` for these devices.

    Args:
      task: What is evaluated.
      devices: At least one.

    Returns:
      `(variables, batch) -> metrics`, variables from `replicate`, batch from `shard_batch`.
    """
    if len(devices) == 1:

        def single(variables: Variables, batch: Batch) -> dict[str, Loss]:
            return eval_step(task, variables, batch)

        return jax.jit(single)

    def parallel(variables: Variables, batch: Batch) -> dict[str, Loss]:
        return eval_step(task, variables, batch, axis_name=AXIS)

    return jax.pmap(parallel, axis_name=AXIS, devices=list(devices))


def fetch_metrics(metrics: DeviceMetrics, device_count: int) -> dict[str, Ratio]:
    """Waits for the metrics of a step and gives them as floats, or vectors: `(sum, count)`."""
    host = unreplicate(metrics, device_count)
    return {name: (_plain(s), _plain(c)) for name, (s, c) in host.items()}


def _plain(value: np.ndarray) -> float | np.ndarray:
    return value.astype(np.float64) if value.ndim else float(value)


def map_rows(
    function: Callable[[Variables, jax.Array], jax.Array],
    variables: Variables,
    devices: Sequence[jax.Device],
) -> Callable[[np.ndarray], jax.Array]:
    """Compiles a function of rows that do not depend on each other, for inference.

    Args:
      function: `(variables, rows) -> results`, a row a row.
      variables: Put on every device once.
      devices: Each takes an equal part of the rows.

    Returns:
      A function of host rows, whose number must be a multiple of the number of devices.
    """
    mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    by_row = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
    if len(devices) == 1:
        placed = jax.device_put(variables, devices[0])
        compiled = jax.jit(function)
        return lambda rows: compiled(placed, jax.device_put(rows, devices[0]))
    # shard_map, so that a function that cuts its rows into chunks cuts each device's own.
    local = jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(AXIS)),
        out_specs=jax.sharding.PartitionSpec(AXIS),
        check_vma=False,  # kernels written by hand do not say what varies
    )
    placed = jax.device_put(variables, everywhere)
    compiled = jax.jit(local)
    return lambda rows: compiled(placed, jax.device_put(rows, by_row))
