"""Which files of training attempts have expired. Pure: no client, no clock.

A run may be attempted several times, and only one attempt claims the release. The files of the
others expire after a while. A file that a release names never does: a live model is loaded from it
whenever its fleet grows.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from events.names import InvalidNameError, parse_attempt_key


@dataclass(frozen=True)
class Retention:
    """How long the files of attempts without a release are kept.

    Attributes:
        dead: from the last write of an attempt that did not claim its run's release to the deletion
            of its files, and again from the deletion until they are purged.
        failed: the same for the newest attempt at a run without a release, whose files may show
            why it failed.
    """

    dead: timedelta
    failed: timedelta


@dataclass(frozen=True)
class StoredVersion:
    """One version of an object in a versioned bucket, or a delete marker.

    Attributes:
        written_at: UTC.
        size: bytes; 0 of a delete marker.
        is_current: whether this is the key's latest version.
        is_delete_marker: whether it hides the object while it is current.
    """

    key: str
    version_id: str
    written_at: datetime
    size: int
    is_current: bool
    is_delete_marker: bool


@dataclass(frozen=True)
class ExpiredFiles:
    """The expired files of one run.

    Attributes:
        attempts: the attempts that wrote them.
        to_delete: objects to hide behind a delete marker, which can be undone.
        to_purge: versions and delete markers of objects deleted long ago, to remove for good.
    """

    attempts: tuple[str, ...] = ()
    to_delete: tuple[StoredVersion, ...] = ()
    to_purge: tuple[StoredVersion, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.to_delete or self.to_purge)


def expired_files(
    stored: Sequence[StoredVersion],
    claimed: Collection[str],
    retention: Retention,
    now: datetime,
) -> ExpiredFiles:
    """The expired ones of a run's files.

    Args:
        stored: all versions of all objects of one run, in any order.
        claimed: the attempts that the run's release names in any of its versions; empty without a
            release.
        retention: how long files are kept.
        now: the time, UTC.
    """
    attempts = _by_attempt(stored)
    newest = (
        None if claimed else max(attempts, key=lambda name: _end_of(attempts[name]), default="")
    )
    dead = {
        name: files
        for name, files in attempts.items()
        if name not in claimed
        and now - _end_of(files) >= (retention.failed if name == newest else retention.dead)
    }
    deleted = {
        file.key
        for files in dead.values()
        for file in files
        if file.is_current and file.is_delete_marker and now - file.written_at >= retention.dead
    }
    found = [(name, file) for name, files in sorted(dead.items()) for file in files]
    to_delete = [
        (name, file) for name, file in found if file.is_current and not file.is_delete_marker
    ]
    to_purge = [(name, file) for name, file in found if file.key in deleted]
    return ExpiredFiles(
        attempts=tuple(sorted({name for name, _ in (*to_delete, *to_purge)})),
        to_delete=tuple(file for _, file in to_delete),
        to_purge=tuple(file for _, file in to_purge),
    )


def is_settled(stored: Sequence[StoredVersion], release_key: str) -> bool:
    """Whether a run has a release and only one attempt, so that none of its files can expire.

    This holds for nearly all runs, and saves reading their manifests.
    """
    has_release = any(file.key == release_key for file in stored)
    return has_release and len(_by_attempt(stored)) <= 1


def _by_attempt(stored: Sequence[StoredVersion]) -> dict[str, list[StoredVersion]]:
    attempts: dict[str, list[StoredVersion]] = {}
    for name, file in _files(stored):
        attempts.setdefault(name, []).append(file)
    return attempts


def _files(stored: Sequence[StoredVersion]) -> Iterator[tuple[str, StoredVersion]]:
    """The files of attempts, with the attempts' names; all other files are left out."""
    for file in stored:
        try:
            yield parse_attempt_key(file.key).attempt, file
        except InvalidNameError:
            continue


def _end_of(files: Sequence[StoredVersion]) -> datetime:
    """When an attempt last wrote; if only delete markers are left, when it was last deleted."""
    written = [file.written_at for file in files if not file.is_delete_marker]
    return max(written or [file.written_at for file in files])
