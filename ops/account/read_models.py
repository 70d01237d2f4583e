"""What a stack client returns: frozen models, whose fields are also those of the JSON output."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from events.manifests import Quarantine, Release, SurveyRef
from functions.core.deployments import Candidate, Deployment, RollbackRequest, SitePause
from functions.core.releases import ReleaseRecord


class ReadModel(BaseModel):
    """Base of them all."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)


class SiteStatus(ReadModel):
    """What is live at a site, and what is in progress there."""

    site: str
    endpoint: str
    endpoint_status: str
    live: Candidate | None
    live_since: AwareDatetime | None
    previous_champion: Annotated[Candidate | None, Field(serialization_alias="former")]
    in_flight: Deployment | None
    waiting: Deployment | None
    paused: SitePause | None
    frozen: str | None
    drift: str | None
    """How the endpoint differs now from what the ledger says; None if it does not."""
    rollback_request: RollbackRequest | None
    held: tuple[ReleaseRecord, ...] = ()
    """Releases that wait for a person's decision, oldest first."""
    surveys: int
    quarantined: tuple[Quarantine, ...]


class ReleaseRow(ReadModel):
    """A registered release, with its deployments."""

    record: ReleaseRecord
    is_live: bool
    deployments: tuple[int, ...]


class Trace(ReadModel):
    """A survey with all releases trained on it, or a release with its surveys."""

    survey: SurveyRef | None
    quarantine: Quarantine | None
    releases: tuple[Release, ...]
    deployments: tuple[Deployment, ...]
