"""Which models a multi-model server holds: one table in memory that all its workers share.

A worker that is asked to load a model writes it into the table; the others find it there and load
it when they are first asked for it. So there is nobody to tell and nothing to lose with a worker
that dies. What may go wrong: two workers change the table at once, so changes hold a lock; who only
reads must wait for nobody, and a worker may be killed in the midst of writing. So there are two
tables, written by turns, and each has a number and a checksum: the newest that is whole is the one.
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
"""Of a table: the number of the change that it was written for, its length and its checksum."""
_NUMBERS = struct.Struct(f"=Q{_HEAD.size - 8}xQ")
"""Of both tables' heads."""
_SLOT = struct.Struct("=d")
_SLOTS_AT = 2 * _HEAD.size
_TABLES_AT = _SLOTS_AT + MAX_MODELS * _SLOT.size


class ModelEntry(NamedTuple):
    """One model that is loaded.

    ``size`` is in bytes, in all workers; ``token`` tells it from another load of the same name;
    ``slot`` is where its last use is written.
    """

    url: str
    size: int
    token: int
    slot: int


class AddedModel(NamedTuple):
    """A model that was written down, and the names that had to leave for it."""

    entry: ModelEntry
    evicted: list[str]


class _TableVersion(NamedTuple):
    change: int
    entries: Mapping[str, ModelEntry]


class ModelTableFullError(Exception):
    """There is no room for another model's name; unload some."""


class ModelTable:
    """The table; made before the workers are forked."""

    def __init__(self) -> None:
        """Take shared memory, and a file to lock that has no name."""
        self._memory = mmap.mmap(-1, _TABLES_AT + 2 * _TABLE_BYTES)
        # The file's lock holds off other processes, the other one this process's own threads.
        self._lock = os.memfd_create("models")
        self._threads = threading.Lock()
        self._known = _TableVersion(0, {})
        self._write({}, change=1)

    def entries(self) -> Mapping[str, ModelEntry]:
        """All models by name; read anew only after a change, and without waiting for a writer."""
        return self._newest().entries

    def touch(self, entry: ModelEntry) -> None:
        """A model was asked just now."""
        _SLOT.pack_into(self._memory, _place(entry), time.monotonic())

    def add(self, name: str, url: str, size: int, limit: int) -> AddedModel | None:
        """Write a model down, and strike out those used longest ago until all fit.

        Args:
            name: what it is called in requests.
            url: where it was loaded from.
            size: what it takes, in bytes; at most ``limit``.
            limit: what all models may take together.

        Returns:
            What was written; None if the name is taken already.

        Raises:
            ModelTableFullError: there are :data:`MAX_MODELS`, or names longer than the table is.
        """
        with self._locked():
            change, known = self._newest()
            if name in known:
                return None
            entries = dict(known)
            left = self._make_room(entries, limit - size)
            free = set(range(MAX_MODELS)).difference(entry.slot for entry in entries.values())
            if not free:
                raise ModelTableFullError
            entry = ModelEntry(url, size, token=change + 1, slot=min(free))
            self.touch(entry)
            self._write({**entries, name: entry}, change + 1)
        return AddedModel(entry, left)

    def remove(self, name: str) -> bool:
        """Strike a model out; False if it is not there."""
        with self._locked():
            change, known = self._newest()
            entries = dict(known)
            if entries.pop(name, None) is None:
                return False
            self._write(entries, change + 1)
        return True

    def _make_room(self, entries: dict[str, ModelEntry], limit: int) -> list[str]:
        left = []
        by_use = sorted(entries, key=lambda name: self._last_use(entries[name]))
        taken = sum(entry.size for entry in entries.values())
        for name in by_use:
            if taken <= limit:
                break
            taken -= entries.pop(name).size
            left.append(name)
        return left

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
            # Both were written anew while they were looked at: there is a newer one.

    def _entries_of(self, change: int) -> Mapping[str, ModelEntry] | None:
        """The table of one change, unless it is cut short or overwritten."""
        half = change % 2
        number, length, check = _HEAD.unpack_from(self._memory, half * _HEAD.size)
        start = _TABLES_AT + half * _TABLE_BYTES
        content = self._memory[start : start + min(length, _TABLE_BYTES)]
        if number != change or hash((change, content)) != check:
            return None
        return {name: ModelEntry(*entry) for name, entry in orjson.loads(content).items()}

    def _write(self, entries: Mapping[str, ModelEntry], change: int) -> None:
        # orjson writes no subclass of a tuple.
        content = orjson.dumps({name: tuple(entry) for name, entry in entries.items()})
        if len(content) > _TABLE_BYTES:
            raise ModelTableFullError
        half = change % 2
        start = _TABLES_AT + half * _TABLE_BYTES
        self._memory[start : start + len(content)] = content
        # The workers are forks of one process and hash alike. zlib and hashlib would let another
        # thread in, which an event loop that reads would have to wait for.
        head = (change, len(content), hash((change, content)))
        _HEAD.pack_into(self._memory, half * _HEAD.size, *head)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Released by the kernel if its holder dies.
        with self._threads:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)


def _place(entry: ModelEntry) -> int:
    """Where the last use of a model is written."""
    return _SLOTS_AT + entry.slot * _SLOT.size
