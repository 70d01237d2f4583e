"""A training process's own log, kept in memory to be stored with the release.

A pod's log is removed with the pod; this copy is for whoever is on call. It is bounded: the
beginning and the end are kept, and the lines between are only counted.
"""

from collections import deque

MAX_HEAD_BYTES = 64 * 1024
MAX_TAIL_BYTES = 192 * 1024


class RunLog:
    """Keeps the lines that the logger writes, as the last of its processors.

    Lines contain steps, counts and reasons, but no rows of surveys.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._head_bytes = self._tail_bytes = self._left_out = 0

    def __call__(self, _logger: object, _method: str, line: str) -> str:
        """Keep a rendered line and return it."""
        self._keep(f"{line}\n".encode(errors="replace"))
        return line

    def content(self) -> bytes:
        """The lines so far, with a note in place of those left out."""
        note = [b"... %d lines left out ...\n" % self._left_out] if self._left_out else []
        return b"".join([*self._head, *note, *self._tail])

    def _keep(self, line: bytes) -> None:
        line = line[:MAX_HEAD_BYTES]
        if not self._tail and self._head_bytes + len(line) <= MAX_HEAD_BYTES:
            self._head.append(line)
            self._head_bytes += len(line)
            return
        self._tail.append(line)
        self._tail_bytes += len(line)
        while self._tail_bytes > MAX_TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())
            self._left_out += 1
