"""Lambda, every night: delete the files of attempts that did not claim their run's release.

An attempt may lose the race for its run's release, or die on the way, and nothing else deletes its
files. Files that a release names stay, whatever their age. What a night that was killed leaves, the
next one deletes.
"""

from datetime import timedelta

from events.inbound import Envelope, NightlyTick
from events.names import is_run_id, release_key
from functions.core.errors import UnreadableReleaseError
from functions.core.outcomes import StepOutcome, Summary
from functions.core.retention import (
    ExpiredFiles,
    Retention,
    StoredVersion,
    expired_files,
    is_settled,
)
from functions.entry import handles, log_details
from functions.services import Services
from functions.settings import CleanUpSettings


@handles(CleanUpSettings, {"Scheduled Event": NightlyTick})
def handler(event: "Envelope[NightlyTick]", services: Services[CleanUpSettings]) -> Summary:
    """Look at every run of every site once."""
    deleted = purged = size = 0
    for site in services.artifacts.sites():
        for run_id, stored in services.attempts.by_run(site):
            expired = _expired_of(run_id, stored, services)
            if not expired:
                continue
            _report(run_id, expired, dry_run=event.detail.dry_run)
            if not event.detail.dry_run:
                services.attempts.delete(expired.to_delete)
                services.attempts.purge(expired.to_purge)
            deleted += len(expired.to_delete)
            purged += len(expired.to_purge)
            size += _size(expired.to_purge)
    would = "would be " if event.detail.dry_run else ""
    text = f"{deleted} objects {would}deleted, {purged} versions {would}purged, {size} bytes freed"
    if event.detail.dry_run:
        return Summary(StepOutcome.DRY_RUN, text)
    counts = {"ObjectsDeleted": deleted, "VersionsPurged": purged, "BytesFreed": size}
    return Summary(StepOutcome.CLEANED_UP, text, counts)


def _expired_of(
    run_id: str, stored: list[StoredVersion], services: Services[CleanUpSettings]
) -> ExpiredFiles:
    """The expired files of a run, by its release's present manifest."""
    if not is_run_id(run_id) or is_settled(stored, release_key(run_id)):
        return ExpiredFiles()
    settings = services.settings
    retention = Retention(
        dead=timedelta(days=settings.dead_attempts_days),
        failed=timedelta(days=settings.failed_attempts_days),
    )
    if not expired_files(stored, (), retention, services.now()):
        return ExpiredFiles()
    try:
        # Read after the listing, so that a release that was claimed meanwhile counts.
        claimed = services.attempts.claimed(run_id)
    except UnreadableReleaseError as error:
        log_details("a run is left alone", run_id=run_id, reason=str(error))
        return ExpiredFiles()
    return expired_files(stored, claimed, retention, services.now())


def _report(run_id: str, expired: ExpiredFiles, *, dry_run: bool) -> None:
    log_details(
        "attempts would be deleted" if dry_run else "attempts are deleted",
        run_id=run_id,
        attempts=expired.attempts,
        deleted=_keys(expired.to_delete),
        purged=_keys(expired.to_purge),
        bytes_deleted=_size(expired.to_delete),
        bytes_freed=_size(expired.to_purge),
    )


def _keys(versions: tuple[StoredVersion, ...]) -> list[str]:
    return sorted({version.key for version in versions})


def _size(versions: tuple[StoredVersion, ...]) -> int:
    return sum(version.size for version in versions)
