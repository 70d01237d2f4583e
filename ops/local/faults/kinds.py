"""The kinds of faults, apart from what needs pydantic, so that the command line starts quickly."""

from enum import StrEnum

PATH = "/_embedded/faults"
"""Where the front door takes faults: POST sets one, GET lists them, DELETE clears them."""


class FaultKind(StrEnum):
    """What goes wrong."""

    HANG = "hang"
    SLOW = "slow"
    CRASH = "crash"
    NO_START = "no-start"
    WRONG = "wrong"
    WRONG_HALF = "wrong-half"
    WRONG_TENTH = "wrong-tenth"
    CAPACITY = "capacity"
    QUOTA = "quota"
    THROTTLING = "throttling"
    ACCESS_DENIED = "access-denied"


CONTAINER_FAULTS = frozenset(
    {
        FaultKind.HANG,
        FaultKind.SLOW,
        FaultKind.CRASH,
        FaultKind.NO_START,
        FaultKind.WRONG,
        FaultKind.WRONG_HALF,
        FaultKind.WRONG_TENTH,
    }
)
"""Those that hold for the containers of one endpoint configuration."""
