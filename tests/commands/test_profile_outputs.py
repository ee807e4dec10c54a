"""Names of experiments and stores: folders in `outputs/` of a project, nowhere else."""

import pytest
from typer.testing import CliRunner

from cellml.cli import app
from cellml.commands.profile_outputs import output_folder
from cellml.errors import UsageError
from tests.data.painting import write_project

NAMES = ["../../outside", "a/b", "..", ".", "", "a\\b", "/tmp/x"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match="the name of a folder in outputs/ expected"):
        output_folder(tmp_path, name)
    assert output_folder(tmp_path, "wsl 2..") == tmp_path / "outputs" / "wsl 2.."


@pytest.mark.parametrize("command", ["train", "embed", "aggregate", "export"])
def test_every_command_that_takes_a_name_checks_it(tmp_path, command):
    root = write_project(tmp_path / "project")
    options = ["-e", "../../x", "--store", "../../x"]
    given = {"aggregate": options[:2], "export": options[2:]}.get(command, options[:2])
    result = CliRunner().invoke(app, ["profile", command, str(root), *given])
    assert isinstance(result.exception, UsageError)
    assert "'../../x': the name of a folder in outputs/ expected" in str(result.exception)
    if command in ("train", "embed"):
        result = CliRunner().invoke(app, ["profile", command, str(root), *options[2:]])
        assert "'../../x': the name of a folder" in str(result.exception)
