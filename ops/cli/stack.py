"""The stack that a command is about: that of `RSSI_STAGE`, where the environment points."""

import os
from typing import TYPE_CHECKING

from ops.errors import UsageError

if TYPE_CHECKING:
    from ops.account.stack_client import StackClient

DEFAULT_STAGE = "dev"


def stage() -> str:
    """The stage in `RSSI_STAGE`."""
    return os.environ.get("RSSI_STAGE", DEFAULT_STAGE)


def open_stack(site: str | None = None) -> "StackClient":
    """A client of the stage's stack.

    Args:
        site: checked before anything is requested; None if the command is about no single site.

    Raises:
        UsageError: no site can have this name.
        NoStackError: there is no stack, or no way to reach it.
    """
    from events.names import InvalidNameError, check_site
    from ops.account.session import AwsSession, find_stack
    from ops.account.stack_client import StackClient

    try:
        if site is not None:
            check_site(site)
    except InvalidNameError as error:
        raise UsageError(f"{error}.") from error
    aws = AwsSession()
    return StackClient(aws, find_stack(aws, stage()))
