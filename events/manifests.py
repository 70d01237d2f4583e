"""The documents that lie in buckets: surveys' references, snapshots, quarantine, releases.

They are immutable and named by what they contain; none carries a time inside what is digested.
Only ``champion.json`` is written over, as what is live changes.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from events.base import Contract, canonical_digest
from events.metrics import Metrics
from events.names import Digest, RunId, Site, run_id

HyperparameterValue = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
_SITE_SHA256 = "site_sha256"
Text = Annotated[str, StringConstraints(min_length=1)]


class SurveyRef(Contract):
    """One uploaded CSV, identified by bucket, key, version and checksum."""

    bucket: Text
    key: Text
    version_id: Text
    etag: Text
    size: Annotated[int, Field(ge=0)]
    uploaded_at: AwareDatetime

    @property
    def id(self) -> str:
        """16 hex digits that name this very upload; the correlation id of what it leads to."""
        identity = f"{self.bucket}\n{self.key}\n{self.version_id}\n{self.etag}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Snapshot(Contract):
    """The sealed list of a site's surveys at a moment, ordered by key."""

    site: Site
    surveys: tuple[SurveyRef, ...]

    @classmethod
    def of(cls, site: str, surveys: Iterable[SurveyRef]) -> "Snapshot":
        """Seal these surveys, in whatever order they were listed."""
        return cls(site=site, surveys=tuple(sorted(surveys, key=lambda survey: survey.key)))

    @property
    def digest(self) -> str:
        """The snapshot's name: SHA-256 (hex) of its content."""
        return canonical_digest(self)

    @property
    def correlation_id(self) -> str:
        """The id of the newest survey: what caused this snapshot to be sealed."""
        return max(self.surveys, key=lambda survey: (survey.uploaded_at, survey.key)).id


class _DependsOnSite(Contract):
    """What pins ``site.json``: a field here, and the last hyperparameter where it is stored.

    The stored form is from the time when it was a hyperparameter; run ids are digests of it.
    """

    @model_validator(mode="before")
    @classmethod
    def _take_out(cls, data: Any) -> Any:
        parameters = data.get("hyperparameters") if isinstance(data, Mapping) else None
        if not isinstance(parameters, Mapping) or _SITE_SHA256 not in parameters:
            return data
        others = {name: value for name, value in parameters.items() if name != _SITE_SHA256}
        return {**data, "hyperparameters": others, _SITE_SHA256: parameters[_SITE_SHA256]}

    @model_serializer(mode="wrap")
    def _put_in(self, serialize: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # a return type would become the schema
        stored = serialize(self)
        pinned = stored.pop(_SITE_SHA256, None)
        if pinned is not None:
            stored["hyperparameters"] = {**stored["hyperparameters"], _SITE_SHA256: pinned}
        return stored


class RunSpec(_DependsOnSite):
    """What is trained: one snapshot, by one trainer version, with one set of hyperparameters."""

    site: Site
    snapshot: Digest
    trainer_version: Text
    hyperparameters: dict[str, HyperparameterValue]
    site_sha256: SkipJsonSchema[Digest | None] = None
    """SHA-256 (hex) of ``site.json`` as it was; None if the site has none."""

    @property
    def run_id(self) -> str:
        """The run's name: the site and 12 hex digits of the digest of all this."""
        return run_id(self.site, canonical_digest(self))


class Quarantine(Contract):
    """Why a survey is not used. It lies beside the releases; the survey itself stays untouched."""

    site: Site
    survey: SurveyRef
    reason: Text
    run_id: RunId | None = None


class Champion(Contract):
    """``champion.json``: what is live at a site, for those who can't read the ledger.

    A projection: it may be written again at any time, and never by an older look at the ledger.
    """

    site: Site
    release: RunId
    digest: Digest
    since: AwareDatetime | None = None
    """When it became live; None where the ledger does not remember."""
    ledger_version: Annotated[int, Field(ge=1)]
    """The version of the site's state that this was read from."""


class SmokeAnswer(Contract):
    """What the packaged model answered before it left the building; x and y in metres."""

    location: str
    x: float | None
    y: float | None
    confidence: float


class SmokeCase(Contract):
    """One fingerprint (dBm by beacon) and its recorded answer."""

    rssi: dict[str, float]
    answer: SmokeAnswer


class Artifact(Contract):
    """One file of a release."""

    key: Text
    sha256: Digest
    size: int


class Release(_DependsOnSite):
    """``release.json``: written last and once; it makes the files beside it a release."""

    site: Site
    run_id: RunId
    digest: Digest
    """SHA-256 of the bundle's ``bundle.json``, which pins every file in it; answers carry it."""
    model: Artifact
    metrics_file: Artifact
    card: Artifact
    log: Artifact | None = None
    """The trainer's own log, up to the claim; releases from before it was kept have none."""
    snapshot: Snapshot
    trainer_version: Text
    image: Text
    hyperparameters: dict[str, HyperparameterValue]
    site_sha256: SkipJsonSchema[Digest | None] = None
    """SHA-256 (hex) of ``site.json`` as it was; None if the site has none."""
    attempt: Text
    metrics: Metrics
    smoke: Annotated[tuple[SmokeCase, ...], Field(min_length=1)]
    correlation_id: Text
    created_at: AwareDatetime
