"""The help of every command of `cellml profile` says what holds where an option is not given."""

import pytest
import typer

from cellml.cli_profile import profile_app
from cellml.cli_profile_features import profile_app as whole_app

assert whole_app is profile_app  # the second half adds its commands to the first
COMMANDS = vars(typer.main.get_command(profile_app))["commands"]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_shows_its_default(name):
    for option in COMMANDS[name].params:
        if option.param_type_name != "option" or option.name == "help":
            continue
        shown = option.show_default and option.default not in (None, [], ())
        flag = option.is_flag and option.default is False
        assert shown or flag or "[" in option.help, f"{name} {option.opts[0]}: {option.help}"
