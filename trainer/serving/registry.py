"""Which models a multi-model server holds: one table in memory that all its workers share.

A worker that is asked to load a model writes it into the table; the others find it there and load
it when they are first asked for it. So there is nobody to tell and nothing to lose with a worker
that dies. What may go wrong: two workers change the table at once, so changes hold a lock, and each
change has a number by which the others notice it.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

MAX_MODELS = 1024
_TABLE_BYTES = 1024 * 1024
_HEADER = struct.Struct("=QQ")
"""The number of the last change, and how long the table is."""
_SLOT = struct.Struct("=d")
_TABLE_AT = _HEADER.size + MAX_MODELS * _SLOT.size


@dataclass(frozen=True, slots=True)
class Entry:
    """One model that is loaded.

    ``size`` is in bytes, in one worker; ``token`` tells it from another load of the same name;
    ``slot`` is where its last use is written.
    """

    url: str
    size: int
    token: int
    slot: int


class TableFullError(Exception):
    """There is no room for another model's name; unload some."""


class Registry:
    """The table; made before the workers are forked."""

    def __init__(self) -> None:
        """Take shared memory, and a file to lock that has no name."""
        self._memory = mmap.mmap(-1, _TABLE_AT + _TABLE_BYTES)
        # The file's lock holds off other processes, the other one this process's own threads.
        self._lock = os.memfd_create("models")
        self._threads = threading.Lock()
        self._seen = -1
        self._entries: dict[str, Entry] = {}
        self._write({}, change=0)

    def entries(self) -> Mapping[str, Entry]:
        """All models by name; read anew only after a change."""
        change, _ = _HEADER.unpack_from(self._memory, 0)
        if change != self._seen:
            with self._locked():
                self._read()
        return self._entries

    def touch(self, entry: Entry) -> None:
        """A model was asked just now."""
        at = _HEADER.size + entry.slot * _SLOT.size
        _SLOT.pack_into(self._memory, at, time.monotonic())

    def add(self, name: str, url: str, size: int, limit: int) -> list[str] | None:
        """Write a model down, and strike out those used longest ago until all fit.

        Args:
            name: what it is called in requests.
            url: where it was loaded from.
            size: what it takes, in bytes; at most ``limit``.
            limit: what all models may take together.

        Returns:
            The names that had to leave; None if the name is taken already.

        Raises:
            TableFullError: there are :data:`MAX_MODELS`, or names longer than the table is.
        """
        with self._locked():
            self._read()
            entries = dict(self._entries)
            if name in entries:
                return None
            left = self._make_room(entries, limit - size)
            free = set(range(MAX_MODELS)).difference(entry.slot for entry in entries.values())
            if not free:
                raise TableFullError
            entry = Entry(url, size, token=self._seen + 1, slot=min(free))
            self._write({**entries, name: entry}, self._seen + 1)
            self.touch(entry)
            self._read()
        return left

    def remove(self, name: str) -> bool:
        """Strike a model out; False if it is not there."""
        with self._locked():
            self._read()
            entries = dict(self._entries)
            if entries.pop(name, None) is None:
                return False
            self._write(entries, self._seen + 1)
            self._read()
        return True

    def _make_room(self, entries: dict[str, Entry], limit: int) -> list[str]:
        left = []
        by_use = sorted(entries, key=lambda name: self._last_use(entries[name]))
        taken = sum(entry.size for entry in entries.values())
        for name in by_use:
            if taken <= limit:
                break
            taken -= entries.pop(name).size
            left.append(name)
        return left

    def _last_use(self, entry: Entry) -> float:
        moment: float = _SLOT.unpack_from(self._memory, _HEADER.size + entry.slot * _SLOT.size)[0]
        return moment

    def _read(self) -> None:
        change, length = _HEADER.unpack_from(self._memory, 0)
        table = orjson.loads(self._memory[_TABLE_AT : _TABLE_AT + length])
        self._entries = {name: Entry(**entry) for name, entry in table.items()}
        self._seen = change

    def _write(self, entries: Mapping[str, Entry], change: int) -> None:
        table = orjson.dumps(entries)
        if len(table) > _TABLE_BYTES:
            raise TableFullError
        self._memory[_TABLE_AT : _TABLE_AT + len(table)] = table
        _HEADER.pack_into(self._memory, 0, change, len(table))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # Released by the kernel if its holder dies.
        with self._threads:
            fcntl.lockf(self._lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._lock, fcntl.LOCK_UN)
