"""Rules of feature selection as `cellml profile aggregate --rule` and `--blocklist` name them."""

from collections.abc import Sequence
from pathlib import Path

from cellml.errors import UsageError, UserError
from cellml.profiling.correct import selection_rules
from cellml.profiling.select import BLOCKLIST

SETTINGS = {
    "variance_threshold": "min_variance",
    "correlation_threshold": "max_correlation",
    "drop_na_columns": "max_missing",
    "drop_outliers": "max_absolute",
    "frequency_threshold": "min_ratio",
    "noise_removal": "max_sd",
}
"""What the number behind a rule sets; see `cellml.profiling.select`."""
HEADER = "blocklist"
"""First line of pycytominer's files."""


def parse_rules(
    texts: Sequence[str], *, normalised: bool
) -> tuple[tuple[str, ...], dict[str, dict[str, float]]]:
    """Reads rules such as `correlation_threshold=0.8` or `blocklist`.

    Args:
      texts: In the order in which they are to be applied; pycytominer's usual ones, if empty.
      normalised: Whether the profiles are; without, no bound on raw features is among the usual.

    Returns:
      Names, and their settings, as `cellml.profiling.select_features` takes them.

    Raises:
      UsageError: Unknown rule, or no number behind `=`.
    """
    if not texts:
        return selection_rules(normalised), {}
    names, settings = [], {}
    for text in texts:
        name, equals, number = text.partition("=")
        if name not in SETTINGS and name != "blocklist":
            expected = ", ".join([*SETTINGS, "blocklist"])
            raise UsageError(f"--rule {text}: expected one of {expected}")
        names.append(name)
        if equals:
            try:
                settings[name] = {SETTINGS[name]: float(number)}
            except (KeyError, ValueError):
                raise UsageError(
                    f"--rule {text}: a rule, or a rule and a number, as correlation_threshold=0.8"
                ) from None
    return tuple(names), settings


def read_blocklist(path: Path | None) -> tuple[str, ...]:
    """Reads names of features, one a line; pycytominer's blocklist without a file.

    Raises:
      UserError: The file cannot be read or has no name.
    """
    if path is None:
        return BLOCKLIST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: no readable list of features ({error})") from error
    names = tuple(line.strip().strip('"') for line in lines)
    names = tuple(name for name in names if name and name != HEADER)
    if not names:
        raise UserError(f"{path}: no name of a feature found, one a line expected")
    return names
