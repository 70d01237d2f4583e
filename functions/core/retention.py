"""Which files of training attempts may go. Pure: no client, no clock.

A run may be attempted several times, and only the attempt that claimed the release counts. What the
others wrote is of no use to anyone after a while; a file that a release names must never go, for a
live model is loaded from it whenever its fleet grows.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from events.names import InvalidNameError, parse_attempt_key


@dataclass(frozen=True)
class Retention:
    """How long what nobody needs is kept.

    Attributes:
        dead: since the last write of an attempt that did not get its run's release, and again
            since its files were deleted until they are gone for good.
        failed: since the last write of the newest attempt at a run without a release: it holds
            what there is to find out why.
    """

    dead: timedelta
    failed: timedelta


@dataclass(frozen=True)
class StoredVersion:
    """One version of an object in a bucket that keeps versions, or the mark of its deletion.

    Attributes:
        written_at: UTC.
        size: bytes; 0 of a mark.
        is_current: whether this is what the key stands for now.
        is_delete_marker: whether the key counts as deleted while this is current.
    """

    key: str
    version_id: str
    written_at: datetime
    size: int
    is_current: bool
    is_delete_marker: bool


@dataclass(frozen=True)
class ExpiredFiles:
    """What may go of one run.

    Attributes:
        attempts: those that it is of.
        to_delete: objects to be deleted, in a way that can be undone.
        to_purge: versions and marks of objects deleted long ago, to be gone for good.
    """

    attempts: tuple[str, ...] = ()
    to_delete: tuple[StoredVersion, ...] = ()
    to_purge: tuple[StoredVersion, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.to_delete or self.to_purge)


def expired_files(
    stored: Sequence[StoredVersion],
    claimed: Collection[str],
    retention: Retention,
    now: datetime,
) -> ExpiredFiles:
    """What may go of one run's files.

    Args:
        stored: all versions of all objects of one run, in any order.
        claimed: the attempts that the run's release names in any of its versions; empty without a
            release.
        retention: how long to keep what.
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
    """Whether a run has a release and one attempt only: then nothing of it can be waste.

    Nearly all runs are so, and their release need not be read to know it.
    """
    has_release = any(file.key == release_key for file in stored)
    return has_release and len(_by_attempt(stored)) <= 1


def _by_attempt(stored: Sequence[StoredVersion]) -> dict[str, list[StoredVersion]]:
    attempts: dict[str, list[StoredVersion]] = {}
    for name, file in _files(stored):
        attempts.setdefault(name, []).append(file)
    return attempts


def _files(stored: Sequence[StoredVersion]) -> Iterator[tuple[str, StoredVersion]]:
    """What attempts wrote, with their names; the release itself, and strangers', is left out."""
    for file in stored:
        try:
            yield parse_attempt_key(file.key).attempt, file
        except InvalidNameError:
            continue


def _end_of(files: Sequence[StoredVersion]) -> datetime:
    """When an attempt last wrote; where only marks are left, when it was last deleted."""
    written = [file.written_at for file in files if not file.is_delete_marker]
    return max(written or [file.written_at for file in files])
