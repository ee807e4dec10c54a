import pytest
from ml_collections import ConfigDict

from cellml.train.config import track_reads, unread
from cellml.train.loop import plain_config
from cellml.train.optim import make_optimizer

CONFIG = {
    "batch_size": 8,
    "optimizer": {"name": "sgd", "learning_rate": 0.1, "schedule": {"name": "constant"}},
    "sizes": (1, 2),
    "empty": {},
}


@pytest.mark.parametrize("make", [dict, ConfigDict])
def test_reads_are_recorded_at_every_depth(make):
    config = track_reads(make(CONFIG))
    assert unread(config) == [
        "batch_size",
        "optimizer.learning_rate",
        "optimizer.name",
        "optimizer.schedule.name",
        "sizes",
    ]
    assert config.batch_size == 8
    assert config["sizes"] == (1, 2)
    assert config.optimizer.get("name") == "sgd"
    assert unread(config) == ["optimizer.learning_rate", "optimizer.schedule.name"]
    make_optimizer(config.optimizer)
    assert unread(config) == []


def test_unpacking_reads_and_an_unread_entry_stays():
    config = track_reads({"model": {"width": 3, "depth": 2}, "forgotten": {"a": 1}})
    assert dict(**config.model) == {"width": 3, "depth": 2}
    assert unread(config) == ["forgotten.a"]


def test_saving_printing_and_testing_do_not_read():
    config = track_reads(CONFIG)
    before = unread(config)
    assert plain_config(config)["sizes"] == [1, 2]
    assert "batch_size" in str(config)
    assert "batch_size" in config
    assert isinstance(config, ConfigDict)
    assert unread(config) == before


def test_the_original_is_not_touched():
    original = ConfigDict(CONFIG)
    track_reads(original).batch_size = 9
    assert original.batch_size == 8
    with pytest.raises(AttributeError):
        track_reads(original).batch_sise  # noqa: B018
