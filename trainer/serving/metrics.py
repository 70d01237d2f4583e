"""Counts of what all workers of a server answered, for Prometheus and for CloudWatch.

Each worker counts in its own slice of shared memory, so nothing is locked, and the successor of a
worker that died goes on with its counts. A reader may see a request in one counter and not yet in
another.
"""

import mmap
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import orjson

STATUSES = (200, 400, 404, 405, 406, 408, 409, 413, 415, 431, 500, 503, 507)
"""Every status that the container answers."""
ERROR_KINDS = {
    400: "bad_request",
    404: "not_found",
    405: "method",
    406: "accept",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "content_type",
    431: "headers",
    500: "internal",
    503: "no_model",
    507: "memory",
}
LATENCY_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 50_000)

NAMESPACE = "RssiServing"
_MAX_VALUES = 100
"""CloudWatch's limit on the values of one metric in one line."""

_LATENCY = len(STATUSES)
_LATENCY_SUM = _LATENCY + len(LATENCY_S) + 1
_ROWS = _LATENCY_SUM + 1
_ROWS_SUM = _ROWS + len(ROWS) + 1
_SIZE = _ROWS_SUM + 1

Info = Mapping[str, str | int | None]


class Counters:
    """The counts of all workers; each writes its own slice and any may read them all."""

    def __init__(self, workers: int) -> None:
        """Allocate shared memory for the workers, before they are forked."""
        self._workers = workers
        shared = memoryview(mmap.mmap(-1, workers * _SIZE * 8))
        self._cells: memoryview[float] = shared.cast("d")

    def of(self, worker: int) -> "WorkerCounters":
        """The slice of one worker, by its number from 0."""
        return WorkerCounters(self, self._cells[worker * _SIZE : (worker + 1) * _SIZE])

    def total(self) -> list[float]:
        """The sum over the workers, cell by cell."""
        slices = [self._cells[at * _SIZE : (at + 1) * _SIZE] for at in range(self._workers)]
        return [sum(cells) for cells in zip(*slices, strict=True)]

    def exposition(self, info: Info) -> bytes:
        """The metrics in Prometheus' text format.

        Args:
            info: what is served, as labels of one constant gauge.
        """
        cells = self.total()
        counts = dict(zip(STATUSES, cells, strict=False))
        lines = [
            *_head("rssi_requests_total", "counter", "Requests answered, by HTTP status."),
            *(f'rssi_requests_total{{status="{s}"}} {n:.0f}' for s, n in counts.items()),
            *_head("rssi_errors_total", "counter", "Requests refused or failed, by kind."),
            *(
                f'rssi_errors_total{{kind="{kind}"}} {counts[s]:.0f}'
                for s, kind in ERROR_KINDS.items()
            ),
            *_histogram(
                "rssi_request_seconds",
                "From the end of a request to its answer.",
                LATENCY_S,
                cells[_LATENCY : _LATENCY_SUM + 1],
            ),
            *_histogram(
                "rssi_request_rows",
                "Rows of a request that was answered.",
                ROWS,
                cells[_ROWS : _ROWS_SUM + 1],
            ),
            *_head("rssi_model_info", "gauge", "What is served."),
            f"rssi_model_info{{{_labels(info)}}} 1",
        ]
        return ("\n".join(lines) + "\n").encode()


class WorkerCounters:
    """One worker's counts."""

    def __init__(self, counters: Counters, cells: "memoryview[float]") -> None:
        """Count in ``cells``, a slice of ``counters``."""
        self.all = counters
        self._cells = cells
        self._recent = deque[float](maxlen=_MAX_VALUES)
        self._reported = cells.tolist()

    def count(self, status: int, seconds: float, rows: int) -> None:
        """Count one response; ``rows`` is 0 where nothing was predicted."""
        cells = self._cells
        # An unknown status is counted as the next listed one rather than lost.
        cells[min(bisect_left(STATUSES, status), len(STATUSES) - 1)] += 1
        cells[_LATENCY + bisect_left(LATENCY_S, seconds)] += 1
        cells[_LATENCY_SUM] += seconds
        if rows:
            cells[_ROWS + bisect_left(ROWS, rows)] += 1
            cells[_ROWS_SUM] += rows
        self._recent.append(seconds)

    def emf(self, info: Info, clock: Callable[[], float] = time.time) -> bytes | None:
        """What happened since the last call as a line of CloudWatch's embedded metric format.

        Args:
            info: what is served; ``release``, if there is one, becomes the dimension.
            clock: seconds since 1970.

        Returns:
            One line of JSON, or None if nothing happened.
        """
        cells = self._cells.tolist()
        difference = [now - then for now, then in zip(cells, self._reported, strict=True)]
        counts = dict(zip(STATUSES, difference, strict=False))
        if not any(counts.values()):
            return None
        self._reported = cells
        values = {
            "Requests": sum(counts.values()),
            "Errors4XX": sum(n for status, n in counts.items() if 400 <= status < 500),
            "Errors5XX": sum(n for status, n in counts.items() if status >= 500),
            "Rows": difference[_ROWS_SUM],
            "Latency": [round(seconds * 1000, 4) for seconds in self._recent],
        }
        self._recent.clear()
        units = {"Latency": "Milliseconds"}
        metrics = [{"Name": name, "Unit": units.get(name, "Count")} for name in values]
        directive = {"Namespace": NAMESPACE, "Dimensions": [["Release"]], "Metrics": metrics}
        line = {
            "_aws": {"Timestamp": int(clock() * 1000), "CloudWatchMetrics": [directive]},
            "level": "info",
            "event": "metrics",
            "Release": str(info.get("release") or "none"),
            **values,
        }
        return orjson.dumps(line)


def _head(name: str, kind: str, meaning: str) -> tuple[str, str]:
    return f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"


def _histogram(
    name: str, meaning: str, bounds: Sequence[float], cells: Sequence[float]
) -> list[str]:
    *counts, total = cells
    labels = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    cumulative = [*accumulate(counts)]
    return [
        *_head(name, "histogram", meaning),
        *(f'{name}_bucket{{le="{le}"}} {n:.0f}' for le, n in zip(labels, cumulative, strict=True)),
        f"{name}_sum {total:.9g}",
        f"{name}_count {cumulative[-1]:.0f}",
    ]


def _labels(info: Info) -> str:
    escaped = (
        (name, str(value).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in info.items()
    )
    return ",".join(f'{name}="{value}"' for name, value in escaped)
