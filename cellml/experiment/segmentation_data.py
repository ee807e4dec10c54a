"""The records that a segmentation config trains and evaluates on."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from cellml.data.batching import Record
from cellml.data.dissertation import SixCopies, SquarePieces
from cellml.datasets import load_source


def sources(config: ConfigDict) -> tuple[Sequence[Record], Sequence[Record]]:
    """Training and evaluation records, cut and copied as the config's `data` says."""
    data = config.data
    where = {"data_dir": data.data_dir, "manual_dir": data.manual_dir, **data.get("options", {})}
    train: Sequence[Record] = load_source(data.name, data.train_split, **where)
    evaluation: Sequence[Record] = load_source(data.name, data.eval_split, **where)
    if side_px := data.get("square_px", 0):
        train, evaluation = (SquarePieces(s, side_px=side_px) for s in (train, evaluation))
    return (SixCopies(train) if data.get("six_copies", False) else train), evaluation
