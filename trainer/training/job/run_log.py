"""A training process's own log, kept as it is written, to be laid beside the release.

Pods are removed and their logs with them; who is on call reads this one. What may go wrong: a log
without end. The beginning and the end are kept, and the lines between are only counted.
"""

from collections import deque

MOST_HEAD_BYTES = 64 * 1024
MOST_TAIL_BYTES = 192 * 1024


class RunLog:
    """Keeps the lines that our logger writes; the last step of its processing.

    Steps, counts and reasons go through it, no rows of surveys.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._head_bytes = self._tail_bytes = self._left_out = 0

    def __call__(self, _logger: object, _method: str, line: str) -> str:
        """Keep a rendered line and hand it on."""
        self._keep(f"{line}\n".encode(errors="replace"))
        return line

    def content(self) -> bytes:
        """What was written so far, with a note in the place of what was left out."""
        note = [b"... %d lines left out ...\n" % self._left_out] if self._left_out else []
        return b"".join([*self._head, *note, *self._tail])

    def _keep(self, line: bytes) -> None:
        line = line[:MOST_HEAD_BYTES]
        if not self._tail and self._head_bytes + len(line) <= MOST_HEAD_BYTES:
            self._head.append(line)
            self._head_bytes += len(line)
            return
        self._tail.append(line)
        self._tail_bytes += len(line)
        while self._tail_bytes > MOST_TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())
            self._left_out += 1
