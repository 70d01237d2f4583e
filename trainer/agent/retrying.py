"""How the agent repeats what waits for AWS: with a growing, random pause, until it is stopped."""

from collections.abc import Callable
from threading import Event

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from trainer.agent.errors import AwsUnavailableError

LONGEST_PAUSE_S = 60


def retrying(stop: Event, on_failure: Callable[[str], None]) -> Retrying:
    """Attempts that end with a success, or without a result when ``stop`` is set.

    Args:
        stop: ends the attempts, and the pause between two of them.
        on_failure: called with the reason before each pause.
    """

    def before_sleep(state: RetryCallState) -> None:
        on_failure(str(state.outcome.exception() if state.outcome else None))

    return Retrying(
        retry=retry_if_exception_type(AwsUnavailableError),
        wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_S),
        sleep=sleep_using_event(stop),
        stop=stop_when_event_set(stop),
        before_sleep=before_sleep,
        retry_error_callback=lambda _: None,
    )
