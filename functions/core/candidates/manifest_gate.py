"""The gate: compares a release's manifest with the files in the bucket before a rollout.

Reasons are sentences for people.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from events.manifests import Release
from events.names import ReleaseKey, attempt_key

CLOCK_SKEW = timedelta(minutes=5)
"""How far a trainer's clock may be ahead. The newest release wins, so one from the future would
supersede every later one."""


@dataclass(frozen=True)
class StoredObject:
    """An object's size in bytes and SHA-256 (hex), from the bucket."""

    size: int
    sha256: str


def check_release(
    release: Release,
    stored_at: ReleaseKey,
    stored_model: StoredObject | None,
    known_digest: str | None,
    now: datetime,
) -> list[str]:
    """Reasons why the release must not be rolled out; empty if it may.

    Args:
        release: the manifest.
        stored_at: where the manifest was found.
        stored_model: the model artifact in the bucket; None if it is missing.
        known_digest: the digest that the ledger remembers for this release id, if any.
        now: the time, UTC.
    """
    return [
        reason
        for reason in (
            _misplaced(release, stored_at),
            _altered_model(release, stored_model),
            _rewritten(release, known_digest),
            _meaningless_metrics(release),
            _from_the_future(release, now),
        )
        if reason
    ]


def _misplaced(release: Release, stored_at: ReleaseKey) -> str | None:
    if (release.site, release.run_id) != (stored_at.site, stored_at.run_id):
        return (
            f"the manifest is that of {release.run_id} of {release.site}, but is stored where "
            f"{stored_at.run_id} of {stored_at.site} belongs"
        )
    if release.model.key != attempt_key(release.run_id, release.attempt, "model.tar.gz"):
        return f"the model artifact {release.model.key} is not one of this release's own attempt"
    return None


def _altered_model(release: Release, stored: StoredObject | None) -> str | None:
    if stored is None:
        return f"the model artifact {release.model.key} is not there"
    if (stored.size, stored.sha256) != (release.model.size, release.model.sha256):
        return (
            f"the model artifact {release.model.key} is not the file that release.json describes: "
            f"{stored.size} bytes with SHA-256 {stored.sha256[:12]}…, expected "
            f"{release.model.size} bytes with {release.model.sha256[:12]}…"
        )
    return None


def _rewritten(release: Release, known_digest: str | None) -> str | None:
    if known_digest is not None and known_digest != release.digest:
        return (
            "a release never changes, and this id was registered before with digest "
            f"{known_digest[:12]}…, not {release.digest[:12]}…"
        )
    return None


def _meaningless_metrics(release: Release) -> str | None:
    metrics = release.metrics
    errors = (metrics.mean_error_m, metrics.median_error_m, metrics.p90_error_m)
    sound = (
        0 <= metrics.exact_accuracy <= 1
        and metrics.held_out_rows > 0
        and all(error is None or (math.isfinite(error) and error >= 0) for error in errors)
    )
    return None if sound else "its metrics are not those of an evaluation on held-out rows"


def _from_the_future(release: Release, now: datetime) -> str | None:
    if release.created_at - now <= CLOCK_SKEW:
        return None
    return (
        f"it says that it was made at {release.created_at:%Y-%m-%d %H:%M:%S %Z}, which is in the "
        "future: set the trainer's clock, and train again"
    )
