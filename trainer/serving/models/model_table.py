"""Which models a multi-model server holds: one table in memory that all its workers share.

A worker that is asked to load a model writes it into the table; the others find it there and load
it at the first request for it, so no worker has to notify another. Changes hold a lock, but a
reader never waits, and a worker may be killed while it writes: so there are two copies, written by
turns, each with a change number and a checksum, and the newest intact one is valid.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

MAX_MODELS = 1024
_TABLE_BYTES = 1024 * 1024
_HEAD = struct.Struct("=QQq")
"""The head of one copy: its change number, length and checksum."""
_NUMBERS = struct.Struct(f"=Q{_HEAD.size - 8}xQ")
"""The change numbers in the heads of both copies."""
_SLOT = struct.Struct("=d")
_SLOTS_AT = 2 * _HEAD.size
_TABLES_AT = _SLOTS_AT + MAX_MODELS * _SLOT.size


class ModelEntry(NamedTuple):
    """One loaded model.

    ``size`` is in bytes over all workers; ``token`` distinguishes loads of the same name; ``slot``
    is where the time of its last use is stored.
    """

    url: str
    size: int
    token: int
    slot: int


class AddedModel(NamedTuple):
    """A model that was added, and the names of those evicted for it."""

    entry: ModelEntry
    evicted: list[str]


class _TableVersion(NamedTuple):
    change: int
    entries: Mapping[str, ModelEntry]


class ModelTableFullError(Exception):
    """The table has no room for another model; unload some."""


class ModelTable:
    """The table; created before the workers are forked."""

    def __init__(self) -> None:
        """Allocate shared memory, and an unnamed file to lock."""
        self._memory = mmap.mmap(-1, _TABLES_AT + 2 * _TABLE_BYTES)
        # The file's lock excludes other processes, the other lock this process's own threads.
        self._lock = os.memfd_create("models")
        self._threads = threading.Lock()
        self._known = _TableVersion(0, {})
        self._write({}, change=1)

    def entries(self) -> Mapping[str, ModelEntry]:
        """All models by name; parsed again only after a change, never waiting for a writer."""
        return self._newest().entries

    def touch(self, entry: ModelEntry) -> None:
        """Record that a model was just used."""
        _SLOT.pack_into(self._memory, _place(entry), time.monotonic())

    def add(self, name: str, url: str, size: int, limit: int) -> AddedModel | None:
        """Add a model, and evict the least recently used ones until all fit.

        Args:
            name: what it is called in requests.
            url: where it was loaded from.
            size: what it takes, in bytes; at most ``limit``.
            limit: what all models may take together.

        Returns:
            The added model; None if the name is taken already.

        Raises:
            ModelTableFullError: there are :data:`MAX_MODELS`, or the table's bytes do not suffice.
        """
        with self._locked():
            change, known = self._newest()
            if name in known:
                return None
            entries = dict(known)
            evicted = self._make_room(entries, limit - size)
            free = set(range(MAX_MODELS)).difference(entry.slot for entry in entries.values())
            if not free:
                raise ModelTableFullError
            entry = ModelEntry(url, size, token=change + 1, slot=min(free))
            self.touch(entry)
            self._write({**entries, name: entry}, change + 1)
        return AddedModel(entry, evicted)

    def remove(self, name: str) -> bool:
        """Remove a model; False if it is not there."""
        with self._locked():
            change, known = self._newest()
            entries = dict(known)
            if entries.pop(name, None) is None:
                return False
            self._write(entries, change + 1)
        return True

    def _make_room(self, entries: dict[str, ModelEntry], limit: int) -> list[str]:
        evicted = []
        by_use = sorted(entries, key=lambda name: self._last_use(entries[name]))
        taken = sum(entry.size for entry in entries.values())
        for name in by_use:
            if taken <= limit:
                break
            taken -= entries.pop(name).size
            evicted.append(name)
        return evicted

    def _last_use(self, entry: ModelEntry) -> float:
        moment: float = _SLOT.unpack_from(self._memory, _place(entry))[0]
        return moment

    def _newest(self) -> _TableVersion:
        while True:
            for change in sorted(_NUMBERS.unpack_from(self._memory), reverse=True):
                known = self._known
                if change == known.change:
                    return known
                entries = self._entries_of(change)
                if entries is not None:
                    self._known = _TableVersion(change, entries)
                    return self._known
            # Both copies were overwritten meanwhile: look again.

    def _entries_of(self, change: int) -> Mapping[str, ModelEntry] | None:
        """The entries of one change; None if its copy is incomplete or overwritten."""
        half = change % 2
        number, length, check = _HEAD.unpack_from(self._memory, half * _HEAD.size)
        start = _TABLES_AT + half * _TABLE_BYTES
        content = self._memory[start : start + min(length, _TABLE_BYTES)]
        if number != change or hash((change, content)) != check:
            return None
        return {name: ModelEntry(*entry) for name, entry in orjson.loads(content).items()}

    def _write(self, entries: Mapping[str, ModelEntry], change: int) -> None:
        # orjson does not serialize subclasses of tuple.
        content = orjson.dumps({name: tuple(entry) for name, entry in entries.items()})
        if len(content) > _TABLE_BYTES:
            raise ModelTableFullError
        half = change % 2
        start = _TABLES_AT + half * _TABLE_BYTES
        self._memory[start : start + len(content)] = content
        # Python's hash, as the workers are forks of one process. zlib and hashlib release the GIL,
        # and a reading event loop would have to wait until this thread gets it back.
        head = (change, len(content), hash((change, content)))
        _HEAD.pack_into(self._memory, half * _HEAD.size, *head)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # The kernel releases it if its holder dies.
        with self._threads:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)


def _place(entry: ModelEntry) -> int:
    """Where the time of a model's last use is stored."""
    return _SLOTS_AT + entry.slot * _SLOT.size
