"""Words and colours of events and answers, shared by the command line and the demonstration."""

from collections.abc import Iterable, Mapping
from datetime import UTC

from rich.text import Text

from events.manifests import SmokeAnswer
from ops.account.event_log import LoggedEvent
from ops.account.prediction_client import PredictedLocation

GOOD, BAD, BUSY, DIM = "green", "red", "yellow", "dim"
EVENT_STYLES: Mapping[str, str] = {
    "DeploymentSucceeded": GOOD,
    "TrainingSucceeded": GOOD,
    "RolledBack": BUSY,
    "ReleaseHeld": BUSY,
    "SitePaused": BUSY,
    "ReleaseApproved": GOOD,
    "SiteResumed": GOOD,
    "ReleaseDeclined": DIM,
    "DecisionRefused": BAD,
    "RollbackRequested": BUSY,
    "DeploymentSuperseded": DIM,
    "DeploymentDelayed": BUSY,
    "SurveyQuarantined": BAD,
    "TrainingFailed": BAD,
    "ReleaseRejected": BAD,
    "SmokeTestFailed": BAD,
    "DeploymentFailed": BAD,
    "EndpointDrifted": BAD,
    "RollbackRefused": BAD,
}


def event_line(event: LoggedEvent) -> Text:
    """One event in one line: time, kind, release, remarks."""
    line = Text(f"{event.time.astimezone(UTC):%H:%M:%S} ", style=DIM)
    line.append(f"{event.detail_type:<20} ", style=EVENT_STYLES.get(event.detail_type, ""))
    line.append(event.release or event.site or "")
    for remark in _remarks(event):
        line.append(f"  {remark}", style=DIM)
    return line


def _remarks(event: LoggedEvent) -> Iterable[str]:
    survey = event.detail.get("survey")
    if isinstance(survey, dict):
        yield str(survey["key"]).rsplit("/", 1)[-1]
    if number := event.text("deployment"):
        yield f"deployment {number}"
    if reason := event.text("reason") or event.text("error") or event.text("what"):
        yield reason


def describe_prediction(answer: SmokeAnswer | PredictedLocation) -> str:
    """One prediction in words."""
    at = "" if answer.x is None or answer.y is None else f" ({answer.x:.1f} m, {answer.y:.1f} m)"
    on = "" if answer.floor is None else f", floor {answer.floor}"
    inside = "" if answer.building is None else f", building {answer.building}"
    return f"{answer.location}{at}{on}{inside}, confidence {answer.confidence:.0%}"
