"""Test-time augmentation on CPU: one vmap (cellml) against a loop over 8 transforms (PyTorch).

The loop is what ttach does: transform the image, predict, transform back, average. The same
U-Net with the same weights; the averaged logits are compared before anything is timed.

    python benchmarks/bench_tta.py [--quick] [--repeats 9]
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.bench_unet import (
    HEADER,
    TOLERANCE,
    Case,
    CellmlSide,
    TorchSide,
    describe,
    result_row,
)
from benchmarks.timing import Worker, interleave

CASES = {
    "nuclei-256": Case("nuclei", (), 256, 1),
    "plain-256": Case("plain", (), 256, 1),
    "nuclei-512": Case("nuclei", (), 512, 1),
    "plain-512": Case("plain", (), 512, 1),
}
QUICK = ("nuclei-256", "plain-256")


class CellmlTta(CellmlSide):
    """`cellml.tta.predict` with d4, averaged."""

    def __init__(self, case: Case) -> None:
        """Jits the prediction."""
        super().__init__(case)
        from cellml.tta import predict

        model, jax = self._model, self._jax
        self._mean = jax.jit(
            lambda variables, image: predict(
                lambda x: model.apply(variables, x[None])[0], image, transforms="d4"
            ).mean(0)
        )

    def averaged(self) -> np.ndarray:
        """Mean logits (h, w, k)."""
        return np.asarray(self._mean(self._variables, self._x[0]))

    def tta(self) -> None:
        """Mean logits of the first image."""
        self._jax.block_until_ready(self._mean(self._variables, self._x[0]))


class TorchTta(TorchSide):
    """The loop over the dihedral group."""

    def averaged(self) -> np.ndarray:
        """Mean logits (h, w, k)."""
        torch = self._torch
        with torch.inference_mode():
            total = 0
            for turns in range(4):
                for flip in (False, True):
                    x = torch.rot90(self._x[:1], turns, (2, 3))
                    x = torch.flip(x, (3,)) if flip else x
                    y = self._model(x.contiguous(memory_format=torch.channels_last))
                    y = torch.flip(y, (3,)) if flip else y
                    total = total + torch.rot90(y, -turns, (2, 3))
            return (total / 8)[0].permute(1, 2, 0).contiguous().numpy()

    def tta(self) -> None:
        """Mean logits of the first image."""
        self.averaged()


def run_case(case: Case, repeats: int) -> None:
    """Checks and times one case; prints its row."""
    with Worker(CellmlTta, case) as ours, Worker(TorchTta, case, ours.call("weights")) as peer:
        difference = float(np.abs(ours.call("averaged") - peer.call("averaged")).max())
        if difference > TOLERANCE:
            sys.exit(f"results differ by {difference:.2g}")
        times = interleave({"cellml": ours, "torch": peer}, "tta", repeats=repeats)
        print(result_row(case, "TTA d4", times), flush=True)


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"3 repeats of {', '.join(QUICK)}")
    parser.add_argument("--repeats", type=int, help="measurements a side (default 9, quick 3)")
    args = parser.parse_args()
    print(describe())
    print(HEADER, flush=True)
    for name in QUICK if args.quick else CASES:
        run_case(CASES[name], args.repeats or (3 if args.quick else 9))


if __name__ == "__main__":
    main()
