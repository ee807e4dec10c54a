"""EfficientNet-B0 on CPU, cellml against PyTorch or Keras: features of single cells, training step.

The same architecture with the same weights on the same crops; features and losses are compared
before anything is timed. Features are the pool of block6a_activation; later layers are computed by
nobody. Training is SGD with Nesterov momentum, 50 classes. Drop-connect is off, but for Keras',
which its model cannot do without (there, losses are not compared).

    python benchmarks/bench_efficientnet.py [--peer torch|keras] [--cases embed-128 train-128]

`--peer keras` takes Keras' default backend, or the one in KERAS_BACKEND.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import (
    Worker,
    describe_machine,
    interleave,
    markdown_row,
    paired_ratio,
    ratio,
)

TOLERANCE = 1e-4
CLASSES = 50
BUSY = 0.5  # load average of the last minute
HEADER = (
    "| what | images | batch | cellml ms | peer ms | cellml crops/s | peer crops/s | "
    "peer / cellml | paired | cpu ratio |\n|---|---|---|---|---|---|---|---|---|---|"
)


class Case(NamedTuple):
    """What is timed.

    Attributes:
      method: `embed` or `train`.
      size: Height and width in pixels.
      channels: Of the images.
      batch: Images.
    """

    method: str
    size: int
    channels: int
    batch: int

    def images(self) -> np.ndarray:
        """Random images (b, h, w, c) in [-1, 1]."""
        shape = (self.batch, self.size, self.size, self.channels)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def labels(self) -> np.ndarray:
        """Random classes (b,)."""
        return np.random.default_rng(1).integers(0, CLASSES, self.batch).astype(np.int32)


CASES = {
    "embed-128": Case("embed", 128, 5, 32),
    "embed-224": Case("embed", 224, 3, 32),
    "train-128": Case("train", 128, 5, 32),
}


class CellmlSide:
    """Our network, jitted; runs in a process of its own."""

    def __init__(self, case: Case) -> None:
        """Builds network, weights and inputs."""
        from cellml import platform

        platform.select_device("cpu")
        platform.configure()
        import jax
        import jax.numpy as jnp
        import optax

        from cellml.models.efficientnet import EfficientNet, embed, fold

        model = EfficientNet("b0", n_classes=CLASSES, drop_connect=0.0)
        self._jax, self._x = jax, jnp.asarray(case.images())
        labels = jnp.asarray(case.labels())
        self._variables = self._random_weights(
            jax.eval_shape(model.init, jax.random.key(0), self._x[:1])
        )
        folded, small = model.clone(norm="folded"), fold(self._variables)
        run = jax.jit(lambda v, x: embed(folded, v, x))
        self._embed = lambda: run(small, self._x)
        tx = optax.sgd(0.005, momentum=0.9, nesterov=True)

        def loss_of(params: Any, stats: Any, x: Any) -> Any:
            logits, kept = model.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
            )
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
            return losses.mean(), kept["batch_stats"]

        def step(state: Any, x: Any) -> Any:
            params, stats, momentum = state
            (loss, stats), grads = jax.value_and_grad(loss_of, has_aux=True)(params, stats, x)
            updates, momentum = tx.update(grads, momentum, params)
            return (optax.apply_updates(params, updates), stats, momentum), loss

        self._step = jax.jit(step, donate_argnums=0)
        self._start = lambda: (
            *(jax.tree.map(jnp.array, self._variables[k]) for k in ("params", "batch_stats")),
            tx.init(self._variables["params"]),
        )
        self._state: Any = None
        self._loss: Any = None

    def _random_weights(self, shapes: Any) -> Any:
        """Kernels that keep the scale; scales and variances near 1, so that no layer is idle."""
        rng = np.random.default_rng(2)

        def draw(path: Any, leaf: Any) -> Any:
            noise = rng.standard_normal(leaf.shape)
            if path[-1].key == "kernel":
                return noise * np.sqrt(2 / np.prod(leaf.shape[:-1]))
            if path[-1].key in ("scale", "var"):
                return rng.uniform(0.5, 1.5, leaf.shape)
            return noise * 0.1

        tree = self._jax.tree_util.tree_map_with_path(draw, shapes)
        return self._jax.tree.map(lambda a: self._jax.numpy.asarray(a, np.float32), tree)

    def weights(self) -> dict[str, np.ndarray]:
        """Variables by path, `params/block2a/expand/kernel`."""
        leaves = self._jax.tree_util.tree_leaves_with_path(self._variables)
        return {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in leaves}

    def features(self) -> np.ndarray:
        """Features (b, 672)."""
        return np.asarray(self._embed())

    def losses(self) -> list[float]:
        """Loss before the first and before the second step from the initial weights."""
        self._state, found = self._start(), []
        for _ in range(2):
            self.train()
            found.append(float(self._loss))
        return found

    def train(self) -> None:
        """One training step."""
        self._state, self._loss = self._step(self._state, self._x)
        self._jax.block_until_ready((self._state, self._loss))

    def embed(self) -> None:
        """Features of the batch."""
        self._jax.block_until_ready(self._embed())


class TorchSide:
    """The same network in PyTorch, float32, channels_last; runs in a process of its own."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray]) -> None:
        """Builds network, copies the weights and the inputs."""
        import torch

        from benchmarks.torch_efficientnet import TorchEfficientNet, load_weights

        # Random weights give numbers that trained networks do not have, and torch, unlike XLA,
        # slows down tenfold on them.
        torch.set_flush_denormal(True)
        self._torch = torch
        self._model = TorchEfficientNet("b0", case.channels, CLASSES)
        load_weights(self._model, weights)
        self._model.to(memory_format=torch.channels_last)
        x = torch.from_numpy(case.images()).permute(0, 3, 1, 2)
        self._x = x.contiguous(memory_format=torch.channels_last)
        self._labels = torch.from_numpy(case.labels()).long()
        # The fused optimiser is torch's fastest on CPU.
        parameters = self._model.parameters()
        self._tx = torch.optim.SGD(parameters, 0.005, momentum=0.9, nesterov=True, fused=True)
        self._loss: Any = None

    def features(self) -> np.ndarray:
        """Features (b, 672)."""
        self._model.eval()
        with self._torch.inference_mode():
            return self._model.embed(self._x).numpy()

    def losses(self) -> list[float]:
        """Loss before the first and before the second step from the initial weights."""
        found = []
        for _ in range(2):
            self.train()
            found.append(self._loss.item())
        return found

    def train(self) -> None:
        """One training step."""
        self._model.train()
        self._tx.zero_grad(set_to_none=True)
        logits = self._model(self._x)
        self._loss = self._torch.nn.functional.cross_entropy(logits, self._labels)
        self._loss.backward()
        self._tx.step()

    def embed(self) -> None:
        """Features of the batch."""
        self._model.eval()
        with self._torch.inference_mode():
            self._model.embed(self._x)


class KerasSide:
    """`keras.applications.EfficientNetB0`; runs in a process of its own."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray]) -> None:
        """Builds the network, copies the weights and the inputs."""
        import keras

        shape = (case.size, case.size, case.channels)
        model = keras.applications.EfficientNetB0(
            weights=None, input_shape=shape, classes=CLASSES, classifier_activation=None
        )
        self._copy(model, weights)
        cut = model.get_layer("block6a_activation").output
        pooled = keras.layers.GlobalAveragePooling2D()(cut)
        self._features, self._model = keras.Model(model.input, pooled), model
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.005, momentum=0.9, nesterov=True), loss)
        # Its first layer divides by 255.
        self._x, self._labels = case.images() * np.float32(255), case.labels()

    def _copy(self, model: Any, weights: dict[str, np.ndarray]) -> None:
        """Sets every tensor that has a name in our layout of Keras' files."""
        from cellml.weights.efficientnet import tensor_targets

        targets = tensor_targets("keras", "b0")
        for tensor in model.weights:
            name = tensor.path.replace("predictions/", "classifier/")
            if name in targets:
                array = weights["/".join(targets.pop(name).path)]
                if "dwconv" in name:
                    array = array.transpose(0, 1, 3, 2)
                tensor.assign(array.reshape(tensor.shape))
        if targets:
            raise ValueError(f"Keras' model has no {sorted(targets)}")

    def features(self) -> np.ndarray:
        """Features (b, 672)."""
        return self._features.predict_on_batch(self._x)

    def embed(self) -> None:
        """Features of the batch."""
        self._features.predict_on_batch(self._x)

    def train(self) -> None:
        """One training step."""
        self._model.train_on_batch(self._x, self._labels)


PEERS = {"torch": TorchSide, "keras": KerasSide}


def check_equal(case: Case, peer: str, ours: Worker, theirs: Worker) -> float:
    """Compares features, or the losses of two steps.

    Returns:
      Largest difference.

    Raises:
      SystemExit: They differ by more than TOLERANCE.
    """
    if case.method == "train" and peer == "keras":
        ours.call("losses")  # sets up what is trained
        return float("nan")
    what = "features" if case.method == "embed" else "losses"
    found, expected = (np.asarray(side.call(what)) for side in (ours, theirs))
    difference = float(np.abs(found - expected).max())
    if difference > TOLERANCE:
        sys.exit(f"{what} differ by {difference:.2g}")
    return difference


def run_case(case: Case, peer: str, repeats: int) -> None:
    """Checks and times one case; prints its row."""
    with (
        Worker(CellmlSide, case) as ours,
        Worker(PEERS[peer], case, ours.call("weights")) as theirs,
    ):
        difference = check_equal(case, peer, ours, theirs)
        times = interleave({"cellml": ours, peer: theirs}, case.method, repeats=repeats)
    mine, other = times["cellml"], times[peer]
    row = markdown_row(
        case.method,
        f"{case.size} x {case.size} x {case.channels}",
        case.batch,
        f"{mine.wall_ms:.0f} (best {mine.best_ms:.0f})",
        f"{other.wall_ms:.0f} (best {other.best_ms:.0f})",
        case.batch / mine.wall_ms * 1e3,
        case.batch / other.wall_ms * 1e3,
        ratio(times, "cellml", peer),
        paired_ratio(times, "cellml", peer),
        other.cpu_ms / mine.cpu_ms,
    )
    print(f"{row}\n<!-- difference {difference:.1e} -->", flush=True)


def main() -> None:
    """Runs the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=PEERS, default="torch", help="what to compare with")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--repeats", type=int, default=9, help="measurements a side (default 9)")
    args = parser.parse_args()
    packages = {"torch": ["torch"], "keras": ["keras"]}[args.peer]
    print(describe_machine("jax", *packages))
    if os.getloadavg()[0] > BUSY:
        print("\n**The machine is busy: not for RESULTS.md.**\n")
    print(HEADER, flush=True)
    for name in args.cases:
        run_case(CASES[name], args.peer, args.repeats)


if __name__ == "__main__":
    main()
