"""The kinds of faults, apart from what needs pydantic, so that the command line starts quickly."""

from enum import StrEnum

PATH = "/_embedded/faults"
"""Where the front door takes faults: POST sets one, GET lists them, DELETE clears them."""


class FaultType(StrEnum):
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
        FaultType.HANG,
        FaultType.SLOW,
        FaultType.CRASH,
        FaultType.NO_START,
        FaultType.WRONG,
        FaultType.WRONG_HALF,
        FaultType.WRONG_TENTH,
    }
)
"""Those that hold for the containers of one endpoint configuration."""
