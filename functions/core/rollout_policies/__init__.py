"""How traffic moves from the live release to a new one: one file per policy, behind one protocol.

A policy is pure: it describes the update, and the SageMaker adapter requests it. Imports nothing
else of ours.
"""

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class BlueGreenUpdate:
    """A blue/green update in SageMaker's terms; all times in seconds.

    Attributes:
        routing: how traffic shifts to the new fleet.
        wait_s: how long the new fleet bakes between two shifts.
        termination_wait_s: how long the old fleet stays after the last shift.
        maximum_execution_s: after this SageMaker rolls back; must exceed all waits together.
    """

    routing: Literal["ALL_AT_ONCE", "CANARY", "LINEAR"]
    wait_s: int
    termination_wait_s: int
    maximum_execution_s: int


class RolloutPolicy(Protocol):
    """Decides how an endpoint is updated."""

    def update(self) -> BlueGreenUpdate:
        """The update to request."""
