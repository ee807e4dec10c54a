"""Mask R-CNN's network on CPU, cellml against PyTorch: trunk and heads.

The trunk is backbone, pyramid and proposal heads; the heads run on given pooled features. The same
weights on the same inputs; all outputs are compared before anything is timed. With `--train`, the
gradient of a sum of squares of the outputs is timed as well. Prints markdown rows for RESULTS.md.

    python benchmarks/bench_mask_rcnn.py [--quick] [--train] [--cases cellml-256] [--repeats 7]
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
BUSY = 0.5  # load average of the last minute
HEADER = (
    "| preset | image | batch | what | cellml ms | torch ms | torch / cellml | paired | cpu ratio |"
    "\n|---|---|---|---|---|---|---|---|---|"
)


class Case(NamedTuple):
    """One network on one shape.

    Attributes:
      preset: Key of `cellml.models.mask_rcnn_settings.PRESETS`.
      size: Height and width in pixels.
      batch: Images.
      regions: Pooled regions of the box head.
      detections: Pooled regions of the mask head.
    """

    preset: str
    size: int
    batch: int
    regions: int = 256
    detections: int = 64

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random images, and pooled features for the box head and the mask head."""
        from cellml.models.mask_rcnn_settings import make_settings

        s, rng = make_settings(self.preset), np.random.default_rng(0)
        return (
            rng.standard_normal((self.batch, self.size, self.size, 3), np.float32),
            rng.standard_normal(
                (self.regions, s.pool_size, s.pool_size, s.fpn_channels), np.float32
            ),
            rng.standard_normal(
                (self.detections, s.mask_pool_size, s.mask_pool_size, s.fpn_channels), np.float32
            ),
        )


CASES = {
    "cellml-256": Case("cellml", 256, 4),
    "cellml-512": Case("cellml", 512, 1),
    "nucleus-256": Case("matterport_nucleus", 256, 1, 128, 32),
    "nucleus-512": Case("matterport_nucleus", 512, 1),
}
QUICK = ("cellml-256", "nucleus-256")


class CellmlSide:
    """Our network, jitted; runs in a process of its own."""

    def __init__(self, case: Case) -> None:
        """Builds network, weights and inputs."""
        from cellml import platform

        platform.select_device("cpu")
        platform.configure()
        import jax
        import jax.numpy as jnp

        from cellml.models.mask_rcnn import MaskRCNN
        from cellml.models.mask_rcnn_settings import make_settings

        model = MaskRCNN(make_settings(case.preset))
        self._jax = jax
        self._inputs = tuple(map(jnp.asarray, case.inputs()))
        image = jnp.zeros((1, 64, 64, 3))
        self._variables = self._random_weights(jax.eval_shape(model.init, jax.random.key(0), image))

        def trunk(variables: Any, images: Any) -> Any:
            pyramid = model.apply(variables, images, method="pyramid")
            return model.apply(variables, pyramid, method="propose")

        def heads(variables: Any, pooled: Any, mask_pooled: Any) -> Any:
            found = model.apply(variables, pooled, method="classify")
            return (*found, model.apply(variables, mask_pooled, method="masks"))

        def gradient(function: Any) -> Any:
            def loss(params: Any, inputs: Any) -> Any:
                outputs = function({**self._variables, "params": params}, *inputs)
                return sum((x**2).mean() for x in outputs)

            return jax.jit(jax.grad(loss))

        self._trunk, self._heads = jax.jit(trunk), jax.jit(heads)
        self._trunk_gradient, self._heads_gradient = gradient(trunk), gradient(heads)

    def _random_weights(self, shapes: Any) -> Any:
        """Weights and statistics that keep activations near 1 and leave no layer idle."""
        rng = np.random.default_rng(2)

        def draw(path: Any, leaf: Any) -> Any:
            noise = rng.standard_normal(leaf.shape, np.float32)
            if path[-1].key == "kernel":
                deconv = path[-2].key == "deconv"
                fan_in = leaf.shape[-1] if deconv else np.prod(leaf.shape[:-1])
                # The outputs' own scale is 1, so that a difference means something.
                gain = 1 if path[-2].key in ("logits", "deltas") else 2
                return noise * np.sqrt(gain / fan_in).astype(np.float32)
            if path[-1].key in ("scale", "var"):
                return np.exp(0.1 * noise) * np.float32(0.5 if path[-1].key == "scale" else 1)
            return noise * np.float32(0.1)

        tree = self._jax.tree_util.tree_map_with_path(draw, shapes)
        return self._jax.tree.map(self._jax.numpy.asarray, tree)

    def weights(self) -> dict[str, np.ndarray]:
        """Variables by path, `params/rpn/shared/kernel`."""
        leaves = self._jax.tree_util.tree_leaves_with_path(self._variables)
        return {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in leaves}

    def outputs(self) -> list[np.ndarray]:
        """Proposals' logits and deltas, classes, boxes, masks (m, h, w, k)."""
        found = (*self._trunk(self._variables, self._inputs[0]),)
        return list(map(np.asarray, (*found, *self._heads(self._variables, *self._inputs[1:]))))

    def trunk(self) -> None:
        """Backbone, pyramid, proposals."""
        self._jax.block_until_ready(self._trunk(self._variables, self._inputs[0]))

    def heads(self) -> None:
        """Box head and mask head."""
        self._jax.block_until_ready(self._heads(self._variables, *self._inputs[1:]))

    def trunk_gradient(self) -> None:
        """Forward and backward of the trunk."""
        gradient = self._trunk_gradient(self._variables["params"], self._inputs[:1])
        self._jax.block_until_ready(gradient)

    def heads_gradient(self) -> None:
        """Forward and backward of the heads."""
        gradient = self._heads_gradient(self._variables["params"], self._inputs[1:])
        self._jax.block_until_ready(gradient)


class TorchSide:
    """The same network in PyTorch, float32, channels_last; runs in a process of its own."""

    def __init__(self, case: Case, weights: dict[str, np.ndarray]) -> None:
        """Builds network, copies the weights and the inputs."""
        import torch

        from benchmarks.torch_mask_rcnn import TorchMaskRCNN, load_weights
        from cellml.models.mask_rcnn_settings import make_settings

        self._torch = torch
        self._model = TorchMaskRCNN(make_settings(case.preset))
        load_weights(self._model, weights)
        self._model.to(memory_format=torch.channels_last).eval()
        self._images, self._pooled, self._mask_pooled = (
            torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
            for a in case.inputs()
        )

    def _run_heads(self) -> list[Any]:
        return [*self._model.box(self._pooled), self._model.mask(self._mask_pooled)]

    def outputs(self) -> list[np.ndarray]:
        """Proposals' logits and deltas, classes, boxes, masks (m, h, w, k)."""
        with self._torch.inference_mode():
            *found, masks = [*self._model.trunk(self._images), *self._run_heads()]
            return [x.contiguous().numpy() for x in (*found, masks.permute(0, 2, 3, 1))]

    def trunk(self) -> None:
        """Backbone, pyramid, proposals."""
        with self._torch.inference_mode():
            self._model.trunk(self._images)

    def heads(self) -> None:
        """Box head and mask head."""
        with self._torch.inference_mode():
            self._run_heads()

    def _backward(self, outputs: Any) -> None:
        self._model.zero_grad(set_to_none=True)
        sum((x**2).mean() for x in outputs).backward()

    def trunk_gradient(self) -> None:
        """Forward and backward of the trunk."""
        self._backward(self._model.trunk(self._images))

    def heads_gradient(self) -> None:
        """Forward and backward of the heads."""
        self._backward(self._run_heads())


def check_equal(ours: Worker, peer: Worker) -> float:
    """Compares all outputs of the two sides, relative to the largest of each.

    Returns:
      Largest relative difference.

    Raises:
      SystemExit: They differ by more than TOLERANCE.
    """
    pairs = zip(ours.call("outputs"), peer.call("outputs"), strict=True)
    difference = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
    if not difference <= TOLERANCE:
        sys.exit(f"results differ by {difference:.2g} of the largest output")
    return difference


def run_case(case: Case, repeats: int, train: bool) -> None:
    """Checks and times one case; prints its rows."""
    heads = f"heads ({case.regions} boxes, {case.detections} masks)"
    parts = {"trunk": "trunk", "heads": heads}
    if train:
        parts |= {f"{name}_gradient": f"{text}, gradient" for name, text in parts.items()}
    with Worker(CellmlSide, case) as ours, Worker(TorchSide, case, ours.call("weights")) as peer:
        difference = check_equal(ours, peer)
        for method, what in parts.items():
            times = interleave({"cellml": ours, "torch": peer}, method, repeats=repeats)
            mine, theirs = times["cellml"], times["torch"]
            row = markdown_row(
                case.preset,
                f"{case.size} x {case.size}",
                case.batch,
                what,
                f"{mine.wall_ms:.0f} (best {mine.best_ms:.0f})",
                f"{theirs.wall_ms:.0f} (best {theirs.best_ms:.0f})",
                ratio(times, "cellml", "torch"),
                paired_ratio(times, "cellml", "torch"),
                theirs.cpu_ms / mine.cpu_ms,
            )
            print(row, flush=True)
        print(f"<!-- {case.preset} {case.size}: outputs differ by {difference:.1e} -->", flush=True)


def main() -> None:
    """Runs the cases named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"3 repeats of {', '.join(QUICK)}")
    parser.add_argument("--train", action="store_true", help="time gradients as well")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--repeats", type=int, help="measurements a side (default 7, quick 3)")
    args = parser.parse_args()
    print(describe_machine("jax", "torch"))
    if os.getloadavg()[0] > BUSY:
        print("\n**The machine is busy: look at best times and at the ratio of processor times.**")
    print(HEADER, flush=True)
    for name in args.cases or (QUICK if args.quick else CASES):
        run_case(CASES[name], args.repeats or (3 if args.quick else 7), args.train)


if __name__ == "__main__":
    main()
