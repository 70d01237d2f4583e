"""Lambda, every night: delete what attempts left that did not get their run's release.

An attempt may lose the race for its run's release, or die on the way; its files are of no use, and
nothing else would ever delete them. Files that a release names stay, whatever their age. Killed
halfway, the next night does the rest.
"""

from datetime import timedelta

from events.inbound import Envelope, NightlyTick
from events.names import is_run_id, release_key
from functions.core.errors import UnreadableReleaseError
from functions.core.retention import Retention, StoredVersion, Waste, is_settled, waste_of
from functions.entry import handles, note
from functions.services import Desk


@handles({"Scheduled Event": NightlyTick})
def handler(event: "Envelope[NightlyTick]", desk: Desk) -> str:
    """Look at every run of every site once."""
    deleted = purged = size = 0
    for site in desk.artifacts.sites():
        for run_id, stored in desk.attempts.by_run(site):
            waste = _waste(run_id, stored, desk)
            if not waste:
                continue
            _report(run_id, waste, dry_run=event.detail.dry_run)
            if not event.detail.dry_run:
                desk.attempts.delete(waste.to_delete)
                desk.attempts.purge(waste.to_purge)
            deleted += len(waste.to_delete)
            purged += len(waste.to_purge)
            size += _size(waste.to_purge)
    would = "would be " if event.detail.dry_run else ""
    return f"{deleted} objects {would}deleted, {purged} versions {would}purged, {size} bytes freed"


def _waste(run_id: str, stored: list[StoredVersion], desk: Desk) -> Waste:
    """What may go of a run, by what its release says at this very moment."""
    if not is_run_id(run_id) or is_settled(stored, release_key(run_id)):
        return Waste()
    settings = desk.settings
    retention = Retention(
        dead=timedelta(days=settings.dead_attempts_days),
        failed=timedelta(days=settings.failed_attempts_days),
    )
    if not waste_of(stored, (), retention, desk.now()):
        return Waste()
    try:
        # Asked after the listing: a release that was claimed meanwhile counts.
        claimed = desk.attempts.claimed(run_id)
    except UnreadableReleaseError as error:
        note("a run is left alone", run_id=run_id, reason=str(error))
        return Waste()
    return waste_of(stored, claimed, retention, desk.now())


def _report(run_id: str, waste: Waste, *, dry_run: bool) -> None:
    note(
        "attempts would be deleted" if dry_run else "attempts are deleted",
        run_id=run_id,
        attempts=waste.attempts,
        deleted=_keys(waste.to_delete),
        purged=_keys(waste.to_purge),
        bytes_deleted=_size(waste.to_delete),
        bytes_freed=_size(waste.to_purge),
    )


def _keys(versions: tuple[StoredVersion, ...]) -> list[str]:
    return sorted({version.key for version in versions})


def _size(versions: tuple[StoredVersion, ...]) -> int:
    return sum(version.size for version in versions)
