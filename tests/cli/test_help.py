"""What `--help` of every command shows: the words of the code, no bracket taken for a style."""

import re

import pytest
import typer
from typer.testing import CliRunner

from cellml.cli import app


def _commands(command, path=()):
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(inner, (*path, name))


COMMANDS = dict(_commands(typer.main.get_command(app)))


def _words(text):
    """Without frames, back quotes (they are a style) and line breaks."""
    return " ".join(re.sub(r"[`│]", "", text).split())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_is_shown_word_by_word(path):
    command = COMMANDS[path]
    if command.context_settings.get("help_option_names") == []:
        pytest.skip("its help is that of the script that it calls")
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "1000"})
    assert shown.exit_code == 0, shown.exception
    for text in (command.help, *(getattr(param, "help", None) for param in command.params)):
        assert _words(text or "") in _words(shown.output)


def test_brackets_are_found_at_all():
    options = [option for command in COMMANDS.values() for option in command.params]
    assert sum("[" in (getattr(option, "help", None) or "") for option in options) > 90
