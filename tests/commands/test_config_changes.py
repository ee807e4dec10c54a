"""`--set`: nested entries, closest names, kinds of values."""

import pytest

from cellml.commands.config_changes import change_config
from cellml.errors import UsageError
from cellml.experiment.activity_presets import PRESETS
from cellml.models.mpnn import MPNN_FIELDS

OPEN = {"model.mpnn": MPNN_FIELDS}


def test_entries_of_any_depth_and_open_ones_change():
    config = PRESETS["cellml"]()
    for change in (
        "model.mpnn.depth=5",
        "data.split.fractions=[0.6,0.2,0.2]",
        "model.fingerprint.size=64",
        "optimizer.schedule.warmup_epochs=1.5",
    ):
        change_config(config, change, open_entries=OPEN)
    assert config.model.mpnn.to_dict() == {"depth": 5}
    assert config.data.split.fractions == (0.6, 0.2, 0.2)
    assert config.model.fingerprint.size == 64
    assert config.optimizer.schedule.warmup_epochs == 1.5
    change_config(config, 'model.mpnn={"hidden": 8}', open_entries=OPEN)
    assert config.model.mpnn.to_dict() == {"hidden": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("modell.dropout=0.1", r"no such entry \(did you mean 'model'\?\)"),
        ("model.droput=0.1", r"no such entry in 'model' \(did you mean 'dropout'\?\)"),
        ("data.split.fraction=1", r"no such entry in 'data.split' \(did you mean 'fractions'\?\)"),
        ("model.mpnn.dept=4", r"no such entry in 'model.mpnn' \(did you mean 'depth'\?\)"),
        ('model.mpnn={"hiden": 4}', r"no such entry in 'model.mpnn' \(did you mean 'hidden'\?\)"),
        ("model.dropout.rate=4", "model.dropout is one value, 0.0; nothing is in it"),
        ("model.dropout", "NAME=VALUE expected"),
        ("train.epochs=many", "found a str, expected a int as 40"),
    ],
)
def test_what_cannot_be_changed_is_named(change, message):
    with pytest.raises(UsageError, match=message):
        change_config(PRESETS["cellml"](), change, open_entries=OPEN)
