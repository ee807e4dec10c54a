"""U-Net on CPU, cellml against PyTorch: training step and inference.

The same architecture with the same weights on the same images; outputs and the loss after one
step are compared before anything is timed. Prints markdown rows for RESULTS.md.

    python benchmarks/bench_unet.py [--quick] [--cases plain-256 nuclei-512] [--repeats 9]
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import (
    Timing,
    Worker,
    describe_machine,
    interleave,
    markdown_row,
    paired_ratio,
    ratio,
)

TOLERANCE = 1e-4
BUSY = 0.5  # load average of the last minute
HEADER = (
    "| model | image | batch | what | cellml ms | torch ms | torch / cellml | paired | cpu ratio |"
    "\n|---|---|---|---|---|---|---|---|---|"
)


class Case(NamedTuple):
    """One network on one shape.

    Attributes:
      preset: Key of `cellml.models.unet.PRESETS`.
      filters: Channels of each level; () for the preset's own.
      size: Height and width in pixels.
      batch: Images of a training step; inference runs on the same batch.
    """

    preset: str
    filters: tuple[int, ...]
    size: int
    batch: int

    @property
    def label(self) -> str:
        """Preset, and the width where it is not the preset's own."""
        return self.preset + (f" {self.filters[0]}-{self.filters[-1]}" if self.filters else "")

    def images(self) -> np.ndarray:
        """Random images (b, h, w, 3) in [0, 1]."""
        rng = np.random.default_rng(0)
        return rng.random((self.batch, self.size, self.size, 3), np.float32)

    def targets(self) -> np.ndarray:
        """Random masks (b, h, w, 3) of 0 and 1, one for each head."""
        rng = np.random.default_rng(1)
        return (rng.random((self.batch, self.size, self.size, 3)) < 0.3).astype(np.float32)


_HALF = (32, 64, 128, 256, 512)
CASES = {
    "plain-256": Case("plain", (), 256, 4),
    "plain-512": Case("plain", (), 512, 1),
    "nuclei-256": Case("nuclei", (), 256, 4),
    "nuclei-512": Case("nuclei", (), 512, 1),
    "zhixuhao-half-256": Case("zhixuhao", _HALF, 256, 2),
    "zhixuhao-half-512": Case("zhixuhao", _HALF, 512, 1),
    "zhixuhao-256": Case("zhixuhao", (), 256, 1),
    "zhixuhao-512": Case("zhixuhao", (), 512, 1),
}
QUICK = ("plain-256", "plain-512", "nuclei-256", "nuclei-512")
DEFAULT = (*QUICK, "zhixuhao-half-256", "zhixuhao-half-512")


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

        from cellml.models.unet import make_unet

        changes = {"filters": case.filters} if case.filters else {}
        model = make_unet(case.preset, out_channels=3, **changes)
        self._jax, self._model = jax, model
        self._x, self._t = jnp.asarray(case.images()), jnp.asarray(case.targets())
        self._variables = self._random_weights(
            jax.eval_shape(model.init, jax.random.key(0), self._x[:1])
        )
        tx = optax.adam(1e-4)
        self._state: Any = None
        self._start = lambda: (
            jax.tree.map(jnp.array, self._variables["params"]),
            tx.init(self._variables["params"]),
        )

        def loss_of(params: Any, x: Any, t: Any) -> Any:
            return optax.sigmoid_binary_cross_entropy(model.apply({"params": params}, x), t).mean()

        def step(state: Any, x: Any, t: Any) -> Any:
            params, moments = state
            loss, grads = jax.value_and_grad(loss_of)(params, x, t)
            updates, moments = tx.update(grads, moments, params)
            return (optax.apply_updates(params, updates), moments), loss

        self._step = jax.jit(step, donate_argnums=0)
        self._apply = jax.jit(model.apply)
        self._loss: Any = None

    def _random_weights(self, shapes: Any) -> Any:
        """He-normal kernels, scales near 1 and small biases, so that no layer is idle."""
        rng = np.random.default_rng(2)

        def draw(path: Any, leaf: Any) -> Any:
            noise = rng.standard_normal(leaf.shape, np.float32)
            if path[-1].key == "kernel":
                return noise * np.sqrt(2 / np.prod(leaf.shape[:-1])).astype(np.float32)
            return noise * np.float32(0.1) + np.float32(path[-1].key == "scale")

        tree = self._jax.tree_util.tree_map_with_path(draw, shapes)
        return self._jax.tree.map(self._jax.numpy.asarray, tree)

    def weights(self) -> dict[str, np.ndarray]:
        """Weights by path, `down0/Conv_0/kernel` in HWIO."""
        leaves = self._jax.tree_util.tree_leaves_with_path(self._variables["params"])
        return {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in leaves}

    def outputs(self) -> np.ndarray:
        """Logits (b, h, w, k)."""
        return np.asarray(self._apply(self._variables, self._x))

    def losses(self) -> list[float]:
        """Loss before the first and before the second step from the initial weights."""
        self._state, found = self._start(), []
        for _ in range(2):
            self.train()
            found.append(float(self._loss))
        return found

    def train(self) -> None:
        """One training step."""
        self._state, self._loss = self._step(self._state, self._x, self._t)
        self._jax.block_until_ready((self._state, self._loss))

    def infer(self) -> None:
        """Logits of the batch."""
        self._jax.block_until_ready(self._apply(self._variables, self._x))


class TorchSide:
    """The same network in PyTorch, float32, channels_last; runs in a process of its own."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray]) -> None:
        """Builds network, copies the weights and the inputs."""
        import torch

        from benchmarks.torch_unet import TorchUNet, load_weights

        self._torch = torch
        self._model = TorchUNet(case.preset, case.filters, 3)
        load_weights(self._model, weights)
        self._model.to(memory_format=torch.channels_last)
        self._x, self._t = (
            torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            for a in (case.images(), case.targets())
        )
        # The fused optimiser is torch's fastest on CPU.
        self._tx = torch.optim.Adam(self._model.parameters(), 1e-4, fused=True)
        self._criterion = torch.nn.BCEWithLogitsLoss()
        self._loss: Any = None

    def outputs(self) -> np.ndarray:
        """Logits (b, h, w, k)."""
        with self._torch.inference_mode():
            return self._model(self._x).permute(0, 2, 3, 1).contiguous().numpy()

    def losses(self) -> list[float]:
        """Loss before the first and before the second step from the initial weights."""
        found = []
        for _ in range(2):
            self.train()
            found.append(self._loss.item())
        return found

    def train(self) -> None:
        """One training step."""
        self._tx.zero_grad(set_to_none=True)
        self._loss = self._criterion(self._model(self._x), self._t)
        self._loss.backward()
        self._tx.step()

    def infer(self) -> None:
        """Logits of the batch."""
        with self._torch.inference_mode():
            self._model(self._x)


def check_equal(ours: Worker, peer: Worker) -> float:
    """Compares logits and losses of the two sides.

    Returns:
      Largest difference of the logits.

    Raises:
      SystemExit: They differ by more than TOLERANCE.
    """
    logits = ours.call("outputs")
    difference = float(np.abs(logits - peer.call("outputs")).max())
    losses = [np.array(side.call("losses")) for side in (ours, peer)]
    loss_difference = float(np.abs(losses[0] - losses[1]).max())
    if max(difference, loss_difference) > TOLERANCE:
        sys.exit(f"results differ: logits by {difference:.2g}, losses by {loss_difference:.2g}")
    return difference


def result_row(case: Case, what: str, times: Mapping[str, Timing]) -> str:
    """A row under HEADER."""
    mine, theirs = times["cellml"], times["torch"]
    return markdown_row(
        case.label,
        f"{case.size} x {case.size}",
        case.batch,
        what,
        f"{mine.wall_ms:.0f} (best {mine.best_ms:.0f})",
        f"{theirs.wall_ms:.0f} (best {theirs.best_ms:.0f})",
        ratio(times, "cellml", "torch"),
        paired_ratio(times, "cellml", "torch"),
        theirs.cpu_ms / mine.cpu_ms,
    )


def describe() -> str:
    """Date, machine, load and versions; warns where others use the machine."""
    line = describe_machine("jax", "torch")
    if os.getloadavg()[0] > BUSY:
        line += (
            "\n\n**The machine is busy: not for RESULTS.md.** PyTorch's OpenMP threads wait for "
            "each other at every layer and lose far more on busy cores than cellml does."
        )
    return line


def run_case(case: Case, repeats: int) -> None:
    """Checks and times one case; prints its rows."""
    with Worker(CellmlSide, case) as ours, Worker(TorchSide, case, ours.call("weights")) as peer:
        difference = check_equal(ours, peer)
        for what, method in (("training step", "train"), ("inference", "infer")):
            times = interleave({"cellml": ours, "torch": peer}, method, repeats=repeats)
            print(result_row(case, what, times), flush=True)
        print(f"<!-- {case.label} {case.size}: logits differ by {difference:.1e} -->", flush=True)


def main() -> None:
    """Runs the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"3 repeats of {', '.join(QUICK)}")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, help="measurements a side (default 9, quick 3)")
    args = parser.parse_args()
    names = args.cases or (QUICK if args.quick else DEFAULT)
    print(describe())
    print(HEADER, flush=True)
    for name in names:
        run_case(CASES[name], args.repeats or (3 if args.quick else 9))


if __name__ == "__main__":
    main()
