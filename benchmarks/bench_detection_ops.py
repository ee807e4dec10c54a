"""NMS, ROIAlign and crop_and_resize on CPU, against torchvision's operators.

torchvision has no build here that fits a CPU build of torch, so its operators are restated, twice:
its C++ kernels, compiled by g++ (`torchvision_kernels.cpp`), and a formulation in PyTorch
(`grid_sample` of all boxes at once; for NMS a loop over the kept boxes). Results are compared
before anything is timed. Each side keeps the layout that it works in: ours NHWC, theirs NCHW.

    python benchmarks/bench_detection_ops.py [--quick] [--repeats 9] [--memory]
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.timing import Worker, describe_machine, interleave, markdown_row, ratio

TOLERANCE = 1e-3
KERNELS = Path(__file__).with_name("torchvision_kernels.cpp")


class Case(NamedTuple):
    """What is timed.

    Attributes:
      operator: "nms", "roi_align" or "crop_and_resize".
      n: Boxes.
      side: Pixels of the (square) feature map, or of the image for NMS.
      channels: Of the feature map.
      size: Cells of the result along each axis.
      iou_max: Of NMS.
      max_keep: Of NMS.
      gradient: Time the gradient with respect to the features instead of the values.
    """

    operator: str
    n: int
    side: int
    channels: int = 0
    size: int = 7
    iou_max: float = 0.7
    max_keep: int = 0
    gradient: bool = False


CASES = {
    "nms proposals, 6,000 to 1,000": Case("nms", 6000, 1024, iou_max=0.7, max_keep=1000),
    "nms proposals, 2,000 to 500": Case("nms", 2000, 256, iou_max=0.7, max_keep=500),
    "nms detections, 1,000 to 400": Case("nms", 1000, 512, iou_max=0.3, max_keep=400),
    "roi_align": Case("roi_align", 1000, 128, 256),
    "roi_align, gradient": Case("roi_align", 1000, 128, 256, gradient=True),
    "roi_align training": Case("roi_align", 384, 64, 96),
    "roi_align training, gradient": Case("roi_align", 384, 64, 96, gradient=True),
    "roi_align masks": Case("roi_align", 128, 64, 96, 14),
    "roi_align masks, gradient": Case("roi_align", 128, 64, 96, 14, gradient=True),
    "crop_and_resize": Case("crop_and_resize", 1000, 128, 256),
    "crop_and_resize, gradient": Case("crop_and_resize", 1000, 128, 256, gradient=True),
}


class Inputs:
    """Random numbers, the same on all sides."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        self.case = case
        cells = case.operator != "nms"
        # 3 to 12 pixels of a feature map, as boxes are on the level that suits them
        sides = rng.uniform(3, 12, (case.n, 2)) if cells else rng.uniform(12, 60, (case.n, 2))
        centers = rng.uniform(0, case.side, (case.n, 2))
        if not cells:  # proposals come in crowds, some ten of them around an object
            objects = rng.integers(0, case.n // 10, case.n)
            centers = centers[objects] + rng.normal(0, 3, (case.n, 2))
            sides = sides[objects] * np.exp(rng.normal(0, 0.15, (case.n, 2)))
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1)
        # a hair within the last pixel: beyond it crop_and_resize gives 0, grid_sample the border
        self.boxes = boxes.clip(0, case.side - 1.001).astype(np.float32)
        self.scores = rng.permutation(case.n).astype(np.float32)
        c, size = case.channels, case.size
        self.features = rng.normal(size=(case.side, case.side, c)).astype(np.float32)
        self.grad = rng.normal(size=(case.n, size, size, c)).astype(np.float32)


class Cellml(Inputs):
    """cellml.ops, jitted."""

    def __init__(self, case: Case) -> None:
        from cellml import platform

        platform.configure()
        import jax
        import jax.numpy as jnp

        from cellml.ops.nms import nms
        from cellml.ops.roi_align import crop_and_resize, roi_align

        super().__init__(case)
        self._jax = jax
        boxes = jnp.asarray(self.boxes)
        if case.operator == "nms":
            arguments = boxes, jnp.asarray(self.scores), jnp.ones(case.n, bool)
            options = {"iou_max": case.iou_max, "max_keep": case.max_keep}
            self._call = jax.jit(lambda *args: nms(*args, **options)), arguments
            return

        def pool(features: Any) -> Any:
            if case.operator == "roi_align":
                return roi_align(features, boxes, case.size)
            return crop_and_resize(features, boxes / (case.side - 1), case.size)

        def pull(features: Any, grad: Any) -> Any:
            return jax.vjp(pool, features)[1](grad)[0]

        features = jnp.asarray(self.features)
        if case.gradient:
            self._call = jax.jit(pull), (features, jnp.asarray(self.grad))
        else:
            self._call = jax.jit(pool), (features,)

    def run(self) -> Any:
        """One call."""
        function, arguments = self._call
        return self._jax.block_until_ready(function(*arguments))

    def result(self) -> np.ndarray:
        """The kept rows, or NHWC values."""
        if self.case.operator == "nms":
            indices, kept = map(np.asarray, self.run())
            return indices[kept]
        return np.asarray(self.run())


class Torch(Inputs):
    """The formulation in PyTorch."""

    def __init__(self, case: Case) -> None:
        import torch

        super().__init__(case)
        self._torch = torch
        if case.operator == "nms":
            torch.set_num_threads(1)  # the loop's tensors are small: threads only wait
        self._boxes = torch.from_numpy(self.boxes)
        self._scores = torch.from_numpy(self.scores)
        self._features = torch.from_numpy(self.features).permute(2, 0, 1).contiguous()[None]
        self._grad = torch.from_numpy(self.grad).permute(0, 3, 1, 2).contiguous()

    def run(self) -> Any:
        """One call."""
        if self.case.operator == "nms":
            with self._torch.inference_mode():
                return self._nms()
        if not self.case.gradient:
            with self._torch.inference_mode():
                return self._pool(self._features)
        features = self._features.detach().requires_grad_()
        self._pool(features).backward(self._grad)
        return features.grad

    def result(self) -> np.ndarray:
        """The kept rows, or NHWC values."""
        found = self.run()
        if self.case.operator == "nms":
            return np.asarray(found)
        found = found.permute(0, 2, 3, 1).numpy()
        return found[0] if self.case.gradient else found

    def _nms(self) -> Any:
        torch, kept = self._torch, []
        order = self._scores.argsort(descending=True, stable=True)
        boxes = self._boxes[order]
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        alive = torch.arange(len(boxes))
        while len(alive) and len(kept) < self.case.max_keep:
            first, alive = alive[0], alive[1:]
            kept.append(int(order[first]))
            sides = torch.minimum(boxes[first, 2:], boxes[alive, 2:])
            sides = (sides - torch.maximum(boxes[first, :2], boxes[alive, :2])).clamp(min=0)
            shared = sides[:, 0] * sides[:, 1]
            iou = shared / (areas[first] + areas[alive] - shared)
            alive = alive[iou <= self.case.iou_max]
        return kept

    def _pool(self, features: Any) -> Any:
        torch, case = self._torch, self.case
        aligned = case.operator == "roi_align"
        points = 2 * case.size if aligned else case.size
        if aligned:
            share = (torch.arange(points) + 0.5) / points
        else:
            share = torch.arange(points) / (points - 1)
        low, high = self._boxes[:, None, :2], self._boxes[:, None, 2:]
        at = low + share[None, :, None] * (high - low) - 0.5 * aligned  # (n, points, (y, x))
        # 0 to side - 1 becomes -1 to 1; all boxes below each other in one image
        grid = (2 / (case.side - 1)) * at - 1
        shape = (case.n, points, points)
        x, y = grid[:, None, :, 1].expand(shape), grid[:, :, None, 0].expand(shape)
        grid = torch.stack([x, y], dim=-1).reshape(1, -1, points, 2)
        out = torch.nn.functional.grid_sample(
            features, grid, padding_mode="border", align_corners=True
        )
        out = out.reshape(case.channels, *shape).transpose(0, 1)
        return torch.nn.functional.avg_pool2d(out, 2) if aligned else out


class Kernels(Torch):
    """torchvision's C++ kernels."""

    def __init__(self, case: Case, library: str) -> None:
        super().__init__(case)
        self._library = ctypes.CDLL(library)
        self._library.nms.restype = ctypes.c_int64

    def run(self) -> Any:
        """One call."""
        torch, case = self._torch, self.case
        boxes = ctypes.c_void_p(self._boxes.data_ptr())
        if case.operator == "nms":
            order = self._scores.argsort(descending=True, stable=True)
            keep = torch.empty(case.n, dtype=torch.int64)
            order_at, keep_at = (ctypes.c_void_p(x.data_ptr()) for x in (order, keep))
            count = self._library.nms(
                boxes, order_at, ctypes.c_int64(case.n), ctypes.c_double(case.iou_max), keep_at
            )
            return keep[:count][: case.max_keep]
        tail = ctypes.c_int64(case.n), case.channels, case.side, case.side, case.size, 2
        if case.gradient:
            out, given = torch.zeros_like(self._features), self._grad
            function = self._library.roi_align_backward
        else:
            out, given = torch.empty_like(self._grad), self._features
            function = self._library.roi_align
        function(ctypes.c_void_p(given.data_ptr()), boxes, ctypes.c_void_p(out.data_ptr()), *tail)
        return out


def compile_kernels(folder: str) -> str | None:
    """The compiled library, or None where there is no g++."""
    library = str(Path(folder) / "kernels.so")
    try:
        options = ["-O3", "-march=native", "-shared", "-fPIC"]
        subprocess.run(["g++", *options, str(KERNELS), "-o", library], check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"no C++ kernels: {error}", file=sys.stderr)
        return None
    return library


def run_case(name: str, repeats: int, library: str | None) -> None:
    """Checks and times one case; prints its row."""
    case = CASES[name]
    sides = {"cellml": Worker(Cellml, case), "torch": Worker(Torch, case)}
    if library and case.operator != "crop_and_resize":  # torchvision has none
        sides["C++"] = Worker(Kernels, case, library)
    try:
        ours = sides["cellml"].call("result")
        for side in list(sides)[1:]:
            theirs = sides[side].call("result")
            same = ours.shape == theirs.shape and np.abs(ours - theirs).max() <= TOLERANCE
            if not same:
                sys.exit(f"{name}: {side} gives something else")
        times = interleave(sides, "run", repeats=repeats)
    finally:
        for side in sides.values():
            side.close()
    cells = [f"{t.wall_ms:.2f} ({t.best_ms:.2f})" for t in times.values()]
    ratios = [f"{ratio(times, 'cellml', side):.2f}" for side in list(sides)[1:]]
    blank = ["-"] * (3 - len(sides))
    what = (
        "" if case.operator == "nms" else f" {case.n} x {case.channels}, {case.size} x {case.size}"
    )
    print(markdown_row(name + what, *cells, *blank, *ratios, *blank), flush=True)


class Memory:
    """Compiled memory of pooling 1,000 boxes of 256 channels from the pyramid of a 1,024 image."""

    def __init__(self) -> None:
        from cellml import platform

        platform.configure()
        import jax
        import jax.numpy as jnp

        self._jax, self._jnp = jax, jnp

    def megabytes(self, pooling: str, gradient: bool) -> tuple[float, float]:
        """(temporaries, results) in MB (10^6)."""
        from cellml.ops.roi_align import pool_pyramid

        jax, jnp = self._jax, self._jnp
        levels = [jax.ShapeDtypeStruct((256 >> i, 256 >> i, 256), jnp.float32) for i in range(4)]
        boxes = jax.ShapeDtypeStruct((1000, 4), jnp.float32)
        grad = jax.ShapeDtypeStruct((1000, 7, 7, 256), jnp.float32)

        def pool(levels: Any, boxes: Any) -> Any:
            options = {"image_shape": (1024, 1024), "size": 7, "canonical_px": 224.0}
            return pool_pyramid(levels, boxes, pooling=pooling, closed=False, **options)

        def both(levels: Any, boxes: Any, grad: Any) -> Any:
            out, pull = jax.vjp(lambda levels: pool(levels, boxes), levels)
            return out, pull(grad)

        given = (levels, boxes, grad) if gradient else (levels, boxes)
        memory = jax.jit(both if gradient else pool).lower(*given).compile().memory_analysis()
        return memory.temp_size_in_bytes / 1e6, memory.output_size_in_bytes / 1e6


def print_memory() -> None:
    """Rows of temporaries and results."""
    print(markdown_row("pooling, 1,000 x 256, 7 x 7", "what", "temporaries MB", "results MB"))
    with Worker(Memory) as worker:
        for pooling in ("roi_align", "crop_and_resize"):
            for gradient in (False, True):
                temporaries, results = worker.call("megabytes", pooling, gradient)
                what = "values and gradient" if gradient else "values"
                print(markdown_row(pooling, what, f"{temporaries:.0f}", f"{results:.0f}"))


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repeats")
    parser.add_argument("--repeats", type=int, help="measurements a side (default 9, quick 3)")
    parser.add_argument("--memory", action="store_true", help="memory only")
    args = parser.parse_args()
    print(describe_machine("jax", "torch"))
    if not args.memory:
        heads = (
            "cellml ms (best)",
            "torch ms (best)",
            "C++ ms (best)",
            "torch / cellml",
            "C++ / cellml",
        )
        print(markdown_row("operator", *heads))
        with tempfile.TemporaryDirectory() as folder:
            library = compile_kernels(folder)
            for name in CASES:
                run_case(name, args.repeats or (3 if args.quick else 9), library)
    print_memory()


if __name__ == "__main__":
    main()
