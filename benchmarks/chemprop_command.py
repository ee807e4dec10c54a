"""Chemprop's command line, also where its optional featuriser in C++ is not installed.

python benchmarks/chemprop_command.py train --data-path DATA.csv ...
"""

import importlib.util
import sys
import types


def main() -> None:
    """Runs `chemprop` with the arguments of this process."""
    # Imported unconditionally by chemprop 2.3, used on request only.
    if importlib.util.find_spec("cuik_molmaker") is None:
        sys.modules["cuik_molmaker"] = types.ModuleType("cuik_molmaker")
    from chemprop.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
