"""`cellml train` and `launch/train.py`: trains what a config describes.

Flags: --config=FILE, --workdir=DIR, and any --config.x.y=value.
"""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from cellml.errors import UsageError

USAGE = """\
Usage: cellml train --config=FILE --workdir=DIR [--config.x.y=value ...]

  --config=FILE        A config of the folder configs/, e.g. configs/unet_nuclei.py.
  --config.x.y=value   Overrides one entry, e.g. --config.train.steps=100.
  --workdir=DIR        Everything the run writes goes here; a run found there is resumed."""


def main(arguments: Sequence[str]) -> int:
    """Parses flags and trains.

    Args:
      arguments: The command line without the program's name.

    Returns:
      Exit code 0.

    Raises:
      UsageError: A flag or config that cannot be used; one line.
    """
    if any(flag in ("--help", "-h", "-help") for flag in arguments):
        print(USAGE)
        return 0
    config, workdir, _ = read_flags(arguments, "cellml train")
    from cellml import experiment  # imports jax

    experiment.run(config, workdir)
    return 0


def read_flags(
    arguments: Sequence[str], program: str, *, extra: Sequence[str] = ()
) -> tuple[ConfigDict, Path, dict[str, str | None]]:
    """Reads --config, --workdir, overrides of the config and further flags.

    Args:
      arguments: The command line without the program's name.
      program: Its name, for messages.
      extra: Names of further flags, which have a text as value.

    Returns:
      The config, the folder, and the value of each further flag (None if it is not given).

    Raises:
      UsageError: A flag or config that cannot be used; one line.
    """
    values = flags.FlagValues()  # our own, so that nothing else's flags are mixed in
    config = config_flags.DEFINE_config_file("config", None, "Config file.", flag_values=values)
    workdir = flags.DEFINE_string("workdir", None, "Folder of the run.", flag_values=values)
    texts = {name: flags.DEFINE_string(name, None, name, flag_values=values) for name in extra}
    words = [program, *arguments]
    before, sys.argv = sys.argv, words  # ml_collections looks for overrides there
    try:
        with warnings.catch_warnings():
            # ml_collections 1.1 loads configs by a deprecated method of importlib
            warnings.filterwarnings("ignore", "the load_module", DeprecationWarning)
            rest = values(words)[1:]
    except (flags.Error, OSError, SyntaxError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{program}: {(str(error).splitlines() or [''])[0]}") from error
    finally:
        sys.argv = before
    if rest:
        raise UsageError(f"{program}: unexpected argument {rest[0]}")
    if not config.value or not workdir.value:
        raise UsageError(f"{program}: --config=FILE and --workdir=DIR are needed")
    path = _config_path(arguments)
    if not Path(path.split(":")[0]).is_file():
        raise UsageError(f"{program}: --config={path}: no such file")
    try:
        config.value.to_dict()  # ml_collections keeps a file's errors until somebody looks
    except (OSError, AttributeError) as error:
        reason = (str(error.__cause__ or error).splitlines() or [""])[0]
        raise UsageError(f"{program}: --config={path}: no ConfigDict found ({reason})") from error
    return config.value, Path(workdir.value), {name: text.value for name, text in texts.items()}


def _config_path(arguments: Sequence[str]) -> str:
    """Returns the value of --config, given as one argument or as two."""
    found = ""
    for flag, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, separator, value = flag.partition("=")
        if name in ("--config", "-config"):
            found = value if separator else following
    return found
