"""Runs commands of `cellml profile` one after another, each in a fork, and kills some of them.

    python -m tests.cli.killed_profile '[[["prepare", "P"], 3], [["prepare", "P"], 0]]'

The number says before which renaming of a finished file the process is killed, as kill -9 does it
and a power cut; 0 lets it end. Prints how each ended: its exit code, or -9. One process imports
cellml once for all of them.
"""

import json
import os
import signal
import sys

from cellml.cli import app
from cellml.commands import (  # before the forks
    profile_aggregate,
    profile_embed,
    profile_export,
    profile_prepare,
)

COMMANDS = (profile_aggregate, profile_embed, profile_export, profile_prepare)


def run(arguments: list[str], kill_at: int) -> int:
    """Runs a command in this process, which may not survive it."""
    renamed, real = 0, os.replace

    def replace(source, target):
        nonlocal renamed
        renamed += 1
        if renamed == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)

    os.replace = replace
    try:
        app(["profile", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main() -> None:
    """See the module."""
    ended = []
    for arguments, kill_at in json.loads(sys.argv[1]):
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os._exit(run(arguments, kill_at))
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
