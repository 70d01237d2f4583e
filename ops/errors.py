"""Errors that end a command, with their exit codes.

OpsError                   exit code 1; one sentence: what happened, and what to do next
├── UsageError             exit code 2: the command makes no sense as it is written
├── NoStackError           exit code 3: there is no stack, or it can't be reached
└── ExpectationError       exit code 1: an act of the demonstration failed
"""


class OpsError(Exception):
    """Base of errors that end a command; only the text is printed."""

    exit_code = 1


class UsageError(OpsError):
    """The command's arguments make no sense."""

    exit_code = 2


class NoStackError(OpsError):
    """There is no stack where the environment points, or it can't be reached."""

    exit_code = 3


class ExpectationError(OpsError):
    """An act of the demonstration did not show what it should."""
