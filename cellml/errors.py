"""Errors that a user can cause and mend; the command line prints them as one line, no traceback."""


class UserError(Exception):
    """Something is wrong with what the user gave: a damaged file, a mismatch, a missing device.

    The message is one line that names the file or option, what was found and what was expected.
    """

    exit_code = 1


class UsageError(UserError):
    """The command cannot start as it was asked: wrong paths, options or a mix of both."""

    exit_code = 2
