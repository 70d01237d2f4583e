"""What the command line tells people when it can't do what they asked.

OpsError                   exit code 1; a sentence on what happened and what to do next
├── UsageError             exit code 2: the words of the command can't be meant
├── NoStackError           exit code 3: there is no stack, or no way to reach one
└── ExpectationError       exit code 1: the demonstration saw something else than it should
"""


class OpsError(Exception):
    """Base of what ends a command; its text is all that is shown."""

    exit_code = 1


class UsageError(OpsError):
    """What was asked for can't be meant."""

    exit_code = 2


class NoStackError(OpsError):
    """There is no stack where the environment points, or it can't be reached."""

    exit_code = 3


class ExpectationError(OpsError):
    """An act of the demonstration did not show what it should."""
