"""One JSON object a line on standard output, where SageMaker collects it.

Written by hand, as importing a logging library would double the container's start time.
"""

import logging
import sys
from datetime import UTC, datetime

import orjson

_MAX_TEXT = 2000
Loggable = str | int | float | bytes | None


def log(level: str, event: str, **fields: Loggable) -> None:
    """Write one line now."""
    line = {"level": level, "event": event, "timestamp": datetime.now(UTC).isoformat()}
    shown = {name: _shown(value) for name, value in fields.items()}
    write_line(orjson.dumps({**line, **shown}))


def write_line(line: bytes) -> None:
    """Write one line of JSON at once, so that the lines of several workers do not mix."""
    sys.stdout.write(line.decode() + "\n")
    sys.stdout.flush()


def _shown(value: Loggable) -> str | int | float | None:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return text[:_MAX_TEXT] if isinstance(text, str) else text


class JsonLines(logging.Handler):
    """Writes the log records of libraries in the same form."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as one line."""
        error = repr(record.exc_info[1]) if record.exc_info else None
        log(record.levelname.lower(), record.getMessage(), logger=record.name, error=error)
