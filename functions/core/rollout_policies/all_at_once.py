"""All traffic shifts to the new fleet in one step."""

from dataclasses import dataclass

from functions.core.rollout_policies import BlueGreenUpdate

_MAXIMUM_EXECUTION_S = 1800


@dataclass(frozen=True)
class AllAtOnce:
    """The old fleet stays for `termination_wait_s`, so that SageMaker can roll back to it."""

    termination_wait_s: int

    def update(self) -> BlueGreenUpdate:
        """The update to request."""
        return BlueGreenUpdate(
            routing="ALL_AT_ONCE",
            wait_s=0,
            termination_wait_s=self.termination_wait_s,
            maximum_execution_s=_MAXIMUM_EXECUTION_S,
        )
