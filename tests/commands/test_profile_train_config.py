"""DeepProfiler's configuration decides a training: each key is followed, refused or named."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellml.commands.profile_train import TrainOptions, make_config
from cellml.commands.profile_train_config import cosine_rates, without_effect
from cellml.data.cell_export import export_settings, write_store
from cellml.data.cell_store import open_store
from cellml.data.painting_project import open_project
from cellml.errors import UsageError, UserError
from cellml.experiment.embedding import make_split, read_cells
from cellml.experiment.steps import scheduled_by_epoch
from cellml.train.optim import make_schedule
from tests.data.painting import config, write_project

TRAIN: dict[str, Any] = {
    "partition": {
        "targets": ["Treatment"],
        "split_field": "Metadata_Plate",
        "training": ["007"],
        "validation": ["P-2"],
    },
    "model": {
        "name": "efficientnet",
        "crop_generator": "sampled_crop_generator",
        "augmentations": False,
        "metrics": ["accuracy", "top_k"],
        "epochs": 12,
        "initialization": "random",
        "lr_schedule": "cosine",
        "params": {
            "learning_rate": 0.02,
            "batch_size": 7,
            "conv_blocks": 2,
            "label_smoothing": 0.1,
            "pooling": "avg",
        },
    },
    "sampling": {"factor": 1, "cache_size": 15000, "workers": 2},
    "validation": {"frequency": 2, "top_k": 5, "batch_size": 9, "frame": "val"},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = write_project(tmp_path_factory.mktemp("project"), outlines=True, train=TRAIN)
    project = open_project(root)
    write_store(project, root / "outputs" / "single-cells")
    settings = export_settings(project, masks="keep")
    write_store(project, root / "outputs" / "kept", settings)
    write_store(project, root / "outputs" / "applied", settings._replace(masks="apply"))
    return root


def configure(root: Path, changes: dict[str, Any]) -> str:
    """Writes another configuration beside; a value of None takes the key out."""
    whole = copy.deepcopy(config(train=TRAIN))
    for name, value in changes.items():
        *path, last = name.split(".")
        part = whole
        for step in path:
            part = part.setdefault(step, {})
        if value is None:
            part.pop(last)
        else:
            part[last] = value
    (root / "inputs" / "config" / "changed.json").write_text(json.dumps(whole))
    return "changed.json"


def made(root: Path, changes: dict[str, Any], **options: Any):
    return make_config(TrainOptions(root, config=configure(root, changes), **options))


def test_every_setting_of_a_training_is_followed(root):
    made_config = made(root, {})
    assert made_config.optimizer.learning_rate == 0.02
    assert (made_config.train.epochs, made_config.train.batch_size) == (12, 7)
    assert (made_config.train.eval_every_epochs, made_config.eval.batch_size) == (2, 9)
    assert made_config.model.variant == "b2"
    assert made_config.loss.label_smoothing == 0.1
    augmentation = made_config.augmentation
    assert not any(
        augmentation[name]
        for name in ("zoom_probability", "flip_probability", "rotate", "brightness", "contrast")
    )
    assert made_config.data.split.scheme == "leave_plates_out"
    assert list(made_config.data.split.plates) == ["P-2"]
    assert made_config.data.label_column == "Treatment"
    assert made_config.model.masked is False
    plain = made(root, {"train.model.augmentations": True, "train.model.lr_schedule": None})
    assert plain.augmentation.zoom_probability == 0.5
    assert plain.optimizer.schedule.name == "constant"


def rates_of(made_config, *, steps_per_epoch: int, epochs: int) -> list[float]:
    optimizer = scheduled_by_epoch(made_config.optimizer, steps_per_epoch=steps_per_epoch)
    schedule = make_schedule(optimizer.to_dict())
    middle = steps_per_epoch // 2
    return [float(schedule(epoch * steps_per_epoch + middle)) for epoch in range(epochs)]


def test_learning_rates_go_by_epoch(root):
    found = rates_of(made(root, {}), steps_per_epoch=10, epochs=12)
    # by hand: lr / 5, 4, 3, 2, 1, then half a cosine; epoch 6 of 12 is its middle
    np.testing.assert_allclose(found[:5], 0.02 / np.array([5, 4, 3, 2, 1]), rtol=1e-5)
    np.testing.assert_allclose(found[6], 0.01, rtol=1e-5)
    np.testing.assert_allclose(found, cosine_rates(0.02, epochs=12), rtol=1e-5)
    shorter = made(root, {}, epochs=3)
    assert len(shorter.optimizer.schedule.rates) == 3
    lists = made(root, {"train.model.lr_schedule": {"epoch": [2, 3], "lr": [0.004, 0.1]}})
    found = rates_of(lists, steps_per_epoch=4, epochs=5)
    np.testing.assert_allclose(found, [0.02, 0.02, 0.004, 0.1, 0.1], rtol=1e-5)
    lists = made(root, {"train.model.lr_schedule": {"epoch": [0, 1], "lr": [0.3, 0.1]}})
    np.testing.assert_allclose(rates_of(lists, steps_per_epoch=4, epochs=2), [0.3, 0.1], rtol=1e-5)


def test_a_target_and_a_split_may_be_any_column(root):
    changes = {
        "train.partition.targets": ["Metadata_Well"],
        "train.partition.split_field": "Split",
        "train.partition.training": ["00", "02"],
        "train.partition.validation": ["03"],
    }
    made_config = made(root, changes)
    store = open_store(root / "outputs" / "single-cells")
    cells, rows = read_cells(store, edges=True, label_column=made_config.data.label_column)
    assert cells.treatment.occurring() == ("A01", "B03", "C12")
    split = make_split(made_config.data.split, cells, store=store, rows=rows)
    wells = store.index["Split"].to_pylist()
    sides = [sorted({wells[row] for row in rows[side]}) for side in split]
    assert sides == [["00", "02"], ["03"], ["01", "04"]]
    same = {
        "train.partition.training": ["007", "P-2"],
        "train.partition.validation": ["P-2", "007"],
    }
    assert made(root, same).data.split.scheme == "leave_cells_out"
    some = {"train.partition.split_field": "Split", "train.partition.training": None}
    assert made(root, some | {"train.partition.validation": ["01"]}).data.split.training == ()


def test_cells_are_masked_as_the_configuration_says(root):
    masked = {"dataset.locations.mask_objects": True}
    assert made(root, masked, store="kept").model.masked is True
    assert made(root, masked, store="applied").model.masked is False  # they are masked already
    with pytest.raises(UserError, match=r"mask_objects is true, but .* has no masks: make it f"):
        made(root, masked)
    with pytest.raises(UserError, match=r"mask_objects is false, but the cells of .*applied are"):
        made(root, {}, store="applied")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.model.name": "resnet"}, r"model\.name is 'resnet', 'efficientnet'"),
        (
            {"train.model.crop_generator": "repeat_channel_crop_generator"},
            r"crop_generator is 'repeat_channel_crop_generator', 'sampled_crop_generator' or",
        ),
        ({"train.model.lr_schedule": "plateau"}, "lr_schedule is 'plateau', 'cosine', null"),
        (
            {"train.model.lr_schedule": {"epoch": [1, 2], "lr": [0.1]}},
            r"lr_schedule\.epoch is \[1, 2\], as many epochs",
        ),
        (
            {"train.model.lr_schedule": {"epoch": [2, 1], "lr": [0.1, 0.2]}},
            r"lr_schedule\.epoch is \[2, 1\], ascending",
        ),
        ({"train.model.lr_schedule": {"epochs": [1]}}, r"unknown key train\.model\.lr_schedule"),
        ({"train.model.initialization": "imagenet"}, "initialization is 'imagenet', 'ImageNet' or"),
        ({"train.model.params.label_smoothing": 1}, "label_smoothing is 1.0, a number below 1"),
        ({"train.sampling.factor": 0.5}, r"sampling\.factor is 0\.5, 1: all cells"),
        ({"train.validation.frame": "train"}, r"validation\.frame is 'train', 'val'"),
        ({"train.partition.targets": ["A", "B"]}, r"targets is \['A', 'B'\], one column"),
        ({"train.partition.validation": None}, r"partition\.validation is missing"),
        ({"train.partition.split_field": None}, r"partition\.split_field is missing"),
        ({"train.partition.validation": ["P-3"]}, r"validation is 'P-3', .*mean 'P-2'"),
        ({"train.partition.split_field": "Splits"}, r"no column 'Splits'.*mean 'Split'"),
        (
            {"train.partition.training": ["P-2"]},
            r"training is \['P-2'\], other values than for validation, or all, 007 as well",
        ),
        ({"train.partition.training": ["007", "P-2"]}, "training is 'P-2', a value that is not in"),
        (
            {"dataset.locations.box_size": 32},
            r"box_size is 32, but the cells of .* have 16 px: make it",
        ),
        ({"train.dset": {"targets": ["x"]}}, r"train\.dset\.targets is \['x'\], no such key"),
        ({"train.sampling.box_size": 99}, r"sampling\.box_size is 99, 16 as in dataset\.loc"),
        ({"train.model.epoch": 3}, r"unknown key train\.model\.epoch \(did you mean"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_name(root, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        made(root, changes)
    assert "changed.json" in str(caught.value) or "no column" in str(caught.value)


def test_keys_without_effect_are_listed(root):
    project = open_project(root, config=configure(root, {"train.gpus": "0"}))
    named = [
        "train.gpus",
        "train.model.metrics",
        "train.model.params.pooling",
        "train.sampling.cache_size",
        "train.sampling.workers",
        "train.validation.top_k",
    ]
    assert without_effect(project, recipe=True) == named
    assert "train.model.params.learning_rate" in without_effect(project, recipe=False)
    scratch = made(root, {"train.model.name": "resnet"}, preset="scratch")
    assert scratch.optimizer.name == "adamw"
    assert list(scratch.data.split.plates) == ["P-2"]


def test_a_column_that_the_store_lacks_is_named(root):
    store = open_store(root / "outputs" / "single-cells")
    with pytest.raises(UsageError, match=r"no column 'Treatmnt' \(did you mean 'Treatment'\?\)"):
        read_cells(store, label_column="Treatmnt")
