"""The documents in buckets: references to surveys, snapshots, quarantine, releases.

They are immutable and named by their content, so no field that is digested holds a time of writing.
Only ``champion.json`` is overwritten.
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
    """The data bucket."""
    key: Text
    """The object's key, ``sites/SITE/surveys/NAME.csv``, or NAME.csv.gz, .jsonl, .parquet."""
    version_id: Text
    """The object's version; ``null`` in a bucket without versions."""
    etag: Text
    """Its entity tag, without quotes."""
    size: Annotated[int, Field(ge=0)]
    """Its size in bytes."""
    uploaded_at: AwareDatetime
    """When it was uploaded."""

    @property
    def id(self) -> str:
        """16 hex digits that name this very upload; the correlation id of what it leads to."""
        identity = f"{self.bucket}\n{self.key}\n{self.version_id}\n{self.etag}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


class Snapshot(Contract):
    """The sealed list of a site's surveys at a moment, ordered by key."""

    site: Site
    """The site."""
    surveys: tuple[SurveyRef, ...]
    """Its surveys, ordered by key."""

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
    """The site."""
    snapshot: Digest
    """Digest of the snapshot."""
    trainer_version: Text
    """Raised when changed code shall train the same data again."""
    hyperparameters: dict[str, HyperparameterValue]
    """The settings of the trainer, by name."""
    site_sha256: SkipJsonSchema[Digest | None] = None
    """SHA-256 (hex) of ``site.json`` as it was; None if the site has none."""

    @property
    def run_id(self) -> str:
        """The run's name: the site and 12 hex digits of the digest of all this."""
        return run_id(self.site, canonical_digest(self))


class Quarantine(Contract):
    """Why a survey is not used. Stored beside the releases; the survey itself stays untouched."""

    site: Site
    """The site."""
    survey: SurveyRef
    """The upload that is not used."""
    reason: Text
    """What is wrong with it."""
    run_id: RunId | None = None
    """The run that found it; None if it was refused before any run."""


class Champion(Contract):
    """``champion.json``: what is live at a site, for readers without access to the ledger.

    A projection: it may be written again at any time, and never from an older state of the ledger.
    """

    site: Site
    """The site."""
    release: RunId
    """The release that is live."""
    digest: Digest
    """SHA-256 (hex) of the release's ``bundle.json``."""
    since: AwareDatetime | None = None
    """When it became live; None where the ledger does not remember."""
    ledger_version: Annotated[int, Field(ge=1)]
    """The version of the site's state that this was read from."""


class SmokeAnswer(Contract):
    """What the packaged model answered before it was uploaded."""

    location: str
    """The label of the most probable cell."""
    x: float | None
    """Metres; None where the site's reference points have no positions."""
    y: float | None
    """Metres; None where the site's reference points have no positions."""
    confidence: float
    """Probability of the location, 0 to 1."""
    floor: str | None = None
    """Of the location; None where the site's surveys name none, as in older releases."""
    building: str | None = None
    """Of the location; None where the site's surveys name none, as in older releases."""


class SmokeCase(Contract):
    """One fingerprint and its recorded answer."""

    rssi: dict[str, float]
    """dBm by beacon."""
    answer: SmokeAnswer
    """The recorded answer."""


class Artifact(Contract):
    """One file of a release."""

    key: Text
    """The object's key in the artifact bucket."""
    sha256: Digest
    """SHA-256 (hex) of its content."""
    size: int
    """Its size in bytes."""


class Release(_DependsOnSite):
    """``release.json``: written last and once; it makes the files beside it a release."""

    site: Site
    """The site."""
    run_id: RunId
    """The run that made it; the release's id."""
    digest: Digest
    """SHA-256 of the bundle's ``bundle.json``, which pins every file in it; answers carry it."""
    model: Artifact
    """The bundle, ``model.tar.gz``."""
    metrics_file: Artifact
    """``metrics.json``: all that was measured."""
    card: Artifact
    """``model-card.html``, for people."""
    log: Artifact | None = None
    """The trainer's own log, up to the claim; releases from before it was kept have none."""
    snapshot: Snapshot
    """The surveys that it learned from."""
    trainer_version: Text
    """The trainer's version."""
    image: Text
    """Reference of the image that trained it, or ``process``."""
    hyperparameters: dict[str, HyperparameterValue]
    """What it was trained with."""
    site_sha256: SkipJsonSchema[Digest | None] = None
    """SHA-256 (hex) of ``site.json`` as it was; None if the site has none."""
    attempt: Text
    """The attempt at the run that claimed the release."""
    metrics: Metrics
    """How good it is on held-out rows."""
    smoke: Annotated[tuple[SmokeCase, ...], Field(min_length=1)]
    """Fingerprints with the answers that a live endpoint must repeat."""
    correlation_id: Text
    """The id of the newest survey in the snapshot."""
    created_at: AwareDatetime
    """When the release was claimed."""
