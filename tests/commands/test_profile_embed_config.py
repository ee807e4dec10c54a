"""What `embed` takes from the section `profile` of DeepProfiler's configuration."""

import pytest

from cellml.commands.profile_embed_config import follow_profile
from cellml.data.painting_project import open_project
from cellml.errors import UserError
from tests.data.painting import write_project

EMPTY = (None, None, None, ())


def followed(root, model, **section):
    write_project(root, profile=section)
    return follow_profile(open_project(root), root / "outputs" / "wsl", model)


def test_a_configuration_without_the_section_says_nothing(tmp_path):
    write_project(tmp_path)
    for model in (None, "classical", "imagenet", "x.hdf5"):
        assert follow_profile(open_project(tmp_path), tmp_path, model) == EMPTY


def test_keys_that_can_be_followed_are(tmp_path):
    keys = {"batch_size": 8, "use_pretrained_input_size": 96, "checkpoint": "None"}
    for model in ("imagenet", "random"):
        assert followed(tmp_path, model, **keys) == (None, 96, 8, ())
    found = followed(tmp_path, "cells", **keys)
    assert (found.input_px, found.batch_size) == (None, 8)
    assert len(found.notes) == 1
    assert found.notes[0].endswith(
        "config.json: not followed by this model: profile.use_pretrained_input_size"
    )


def test_another_layer_is_refused_where_a_network_is_cut(tmp_path):
    layer = {"feature_layer": "avg_pool"}
    for model in (None, "imagenet", "random", "x.hdf5"):
        with pytest.raises(UserError, match=r"config.json.*profile.feature_layer is 'avg_pool', "):
            followed(tmp_path, model, **layer)
    for model in ("classical", "cells"):
        assert "profile.feature_layer" in followed(tmp_path, model, **layer).notes[0]
    assert followed(tmp_path, "imagenet", feature_layer="block6a_activation") == EMPTY


def test_a_checkpoint_is_the_model_where_it_is_there(tmp_path):
    file = tmp_path / "outputs" / "wsl" / "checkpoint" / "c.hdf5"
    with pytest.raises(UserError, match=r"profile.checkpoint is 'c.hdf5'.*checkpoint/c.hdf5"):
        followed(tmp_path, None, checkpoint="c.hdf5")
    trained = tmp_path / "outputs" / "wsl" / "model" / "embedders" / "step_000001.safetensors"
    trained.parent.mkdir(parents=True)
    trained.touch()
    found = followed(tmp_path, None, checkpoint="c.hdf5")
    assert found.model is None
    assert "c.hdf5 is not there" in found.notes[0]
    file.parent.mkdir()
    file.touch()
    found = followed(tmp_path, None, checkpoint="c.hdf5")
    assert found.model == str(file)
    assert f"profile.checkpoint: {file}" in found.notes[0]
    assert followed(tmp_path, "imagenet", checkpoint="c.hdf5").model is None
    assert followed(tmp_path, None, checkpoint="None") == EMPTY


def test_misspelt_keys_are_named(tmp_path):
    with pytest.raises(UserError, match=r"key profile.batch_sise \(did you mean profile.batch_s"):
        followed(tmp_path, "classical", batch_sise=8)
