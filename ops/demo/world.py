"""What the acts share: the running stack, the data, and ways to observe both."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import JsonValue
from rich.console import Console
from rich.text import Text

from events.manifests import Release, SurveyRef
from ops.account.event_log import LoggedEvent
from ops.account.prediction_client import Prediction
from ops.account.session import AwsSession, find_stack
from ops.account.stack_client import StackClient, instances_body
from ops.demo.survey import DemoSurvey, fullest_fingerprint
from ops.errors import ExpectationError
from ops.local_stack import STAGE, LocalStack
from ops.terminal import event_line

SITE = "library-1f"
PATIENCE_S = 120.0
NEXT_STEP = {
    "TrainingStarted": "training on the site's own machine",
    "TrainingSucceeded": "the release is on its way to the cloud",
    "ModelCreated": "configuring the endpoint",
    "RolloutStarted": "the endpoint is moving to the release",
    "SmokeTestFailed": "rolling back",
}


@dataclass
class DemoWorld:
    """One running stack, its data, and the results of earlier acts."""

    stack: LocalStack
    survey: DemoSurvey
    console: Console
    releases: list[Release] = field(default_factory=list)
    drop_to_live_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the stack and choose the fingerprint to predict."""
        self.stack_client = self.new_stack_client()
        self._fingerprint = fullest_fingerprint(self.survey.first)

    def new_stack_client(self) -> StackClient:
        """A stack client with AWS clients of its own, for another thread."""
        aws = AwsSession(self.stack.environment)
        return StackClient(aws, find_stack(aws, STAGE))

    def ask(self, stack_client: StackClient | None = None) -> Prediction:
        """Predict one fingerprint without retries: a lost request must be noticed."""
        body = instances_body([self._fingerprint])
        return (stack_client or self.stack_client).predict(
            SITE, body, "application/json", attempts=1
        )

    def drop(self, name: str, content: bytes) -> SurveyRef:
        """Drop a survey into the bucket."""
        return self.stack_client.drop_bytes(SITE, name, content)

    def live_release(self) -> str | None:
        """The live release's id, as the ledger has it."""
        champion = self.stack_client.ledger.state(SITE).champion
        return champion.release if champion else None

    def wait_for(
        self, wanted: Callable[[LoggedEvent], bool], what: str, since: datetime
    ) -> LoggedEvent:
        """Print events until the wanted one arrives.

        Raises:
            ExpectationError: it does not arrive in time, or a part of the stack ends.
        """
        with self.console.status(what) as status:
            for event in self.stack_client.event_log.follow(
                since, SITE, PATIENCE_S, every_s=0.1, between=self._check_parts
            ):
                self.console.print(Text("  ").append(event_line(event)))
                if wanted(event):
                    return event
                status.update(NEXT_STEP.get(event.detail_type, what))
        raise ExpectationError(f"expected {what} within {PATIENCE_S:.0f} s, but it did not happen")

    def _check_parts(self) -> None:
        if dead := self.stack.dead_part():
            raise ExpectationError(f"expected every part of the stack to run, but {dead}")

    def remember(self, run_id: str) -> Release:
        """Read a release's manifest and keep it for the summary."""
        release = self.stack_client.artifacts.release(run_id)
        self.releases.append(release)
        return release


def now() -> datetime:
    """The time from which an act reads events."""
    return datetime.now(UTC)


def expect(what: str, expected: JsonValue, seen: JsonValue) -> None:
    """Compare what was seen with what was expected.

    Raises:
        ExpectationError: they differ; the text gives both.
    """
    if expected != seen:
        raise ExpectationError(f"{what}: expected {expected!r}, saw {seen!r}")


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since the block was entered."""
    started = time.monotonic()
    yield lambda: time.monotonic() - started
