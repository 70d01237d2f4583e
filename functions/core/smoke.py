"""The smoke test: the endpoint must repeat the answers that the release recorded, in time.

An endpoint that serves another release, answers differently, late or not at all, must not stay
live. Requests that the network or SageMaker lost prove nothing either way.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import cycle, islice

from events.base import Contract
from events.manifests import Release, SmokeAnswer

TOLERANCE = 1e-4
"""Largest accepted difference of a number (metres, or confidence in 0 to 1) to the recorded one.
The same weights in numpy differ by about 1e-6 between processors; a wrong model by far more."""
QUOTED = 3
SINGLE_REQUESTS = 60
"""One answer in ten that is wrong is missed once in 500 tests (0.9^60), one in twenty in 20."""
SINGLE_REQUESTS_PER_INSTANCE = 10
"""SageMaker picks an instance at random: one of many is missed once in 20,000 tests (e^-10)."""
PERCENTILE = 0.95
MALFORMED = (b"{", b'{"instances": "not fingerprints"}')
"""Few, so that they do not move an alarm on the share of 4XX answers."""


@dataclass(frozen=True)
class SmokeBudget:
    """How long one request may take, and all of them together, in seconds."""

    request_s: float
    total_s: float

    @classmethod
    def of(cls, latency_bound_ms: float) -> "SmokeBudget":
        """The budget that goes with an upper bound of the latency of one row."""
        request_s = max(1.0, 3 * latency_bound_ms / 1000)
        return cls(request_s, total_s=10 + 2 * request_s)


@dataclass(frozen=True)
class SmokeRequest:
    """One request; ``rows`` are the indices of its rows in the smoke set, none if malformed."""

    body: bytes
    rows: tuple[int, ...] = ()


class EndpointResponse(Contract):
    """The endpoint's response: the release that answers, and a prediction per row."""

    release: str
    digest: str
    predictions: tuple[SmokeAnswer, ...]


class ResultKind(Enum):
    """What became of a request."""

    ANSWERED = auto()
    REFUSED = auto()
    """The container refused it as the client's fault (4XX)."""
    BROKEN = auto()
    """The container failed, or its answer can't be read."""
    TIMED_OUT = auto()
    LOST = auto()
    """It did not reach the container, so it says nothing about it."""


@dataclass(frozen=True)
class SmokeResult:
    """What became of one request, and in what time."""

    request: SmokeRequest
    kind: ResultKind
    milliseconds: float = 0.0
    response: EndpointResponse | None = None
    text: str = ""


@dataclass(frozen=True)
class SmokeReport:
    """What is wrong; without problems the release may stay live.

    Attributes:
        latency_ms: 95th percentile of one row.
        inconclusive: why nothing follows from the results; empty if something does.
    """

    problems: tuple[str, ...]
    latency_ms: float
    inconclusive: str = ""

    @property
    def passed(self) -> bool:
        """Whether all requests were answered as they should be."""
        return not self.problems and not self.inconclusive

    @property
    def reason(self) -> str:
        """All problems in one sentence."""
        return "; ".join(self.problems) or self.inconclusive


def smoke_requests(release: Release, instances: int = 1) -> list[SmokeRequest]:
    """The requests of one smoke test: the whole smoke set, single rows of it, malformed ones."""
    rows = [case.rssi for case in release.smoke]
    count = max(SINGLE_REQUESTS, SINGLE_REQUESTS_PER_INSTANCE * instances)
    return [
        SmokeRequest(_body(rows), tuple(range(len(rows)))),
        *(
            SmokeRequest(_body([rows[row]]), (row,))
            for row in islice(cycle(range(len(rows))), count)
        ),
        *(SmokeRequest(body) for body in MALFORMED),
    ]


def _body(rows: Sequence[dict[str, float]]) -> bytes:
    return json.dumps({"instances": rows}).encode()


def judge_results(
    release: Release, results: Sequence[SmokeResult], latency_bound_ms: float
) -> SmokeReport:
    """Compare what became of the requests with what the release recorded.

    Args:
        release: the release that should be live.
        results: one for each request.
        latency_bound_ms: upper bound of the 95th percentile of one row.
    """
    proper = [result for result in results if result.request.rows]
    answered = [result for result in proper if result.response is not None]
    latency = _percentile(
        [result.milliseconds for result in answered if len(result.request.rows) == 1]
    )
    failed = _failed(proper)
    malformed = [result for result in results if not result.request.rows]
    problems = (
        *_timed_out(results),
        *(failed or _accepted(malformed)),
        *_other_releases(release, answered),
        *_wrong_answers(release, answered),
        *_too_slow(latency, latency_bound_ms),
    )
    lost = [result for result in results if result.kind is ResultKind.LOST]
    return SmokeReport(
        problems,
        latency,
        f"{len(lost)} of {len(results)} requests did not reach the container ({lost[0].text})"
        if lost and not problems
        else "",
    )


def _percentile(milliseconds: Sequence[float]) -> float:
    if not milliseconds:
        return 0.0
    return sorted(milliseconds)[math.ceil(PERCENTILE * len(milliseconds)) - 1]


def _timed_out(results: Sequence[SmokeResult]) -> list[str]:
    late = [result for result in results if result.kind is ResultKind.TIMED_OUT]
    return [f"no answer to {len(late)} of {len(results)} requests: {late[0].text}"] if late else []


def _failed(results: Sequence[SmokeResult]) -> list[str]:
    failed = [
        result for result in results if result.kind in (ResultKind.BROKEN, ResultKind.REFUSED)
    ]
    if not failed:
        return []
    return [f"{len(failed)} of {len(results)} requests failed ({failed[0].text})"]


def _accepted(malformed: Sequence[SmokeResult]) -> list[str]:
    accepted = [
        result for result in malformed if result.kind in (ResultKind.ANSWERED, ResultKind.BROKEN)
    ]
    if not accepted:
        return []
    how = accepted[0].text or "answered as if they were sound"
    return [f"{len(accepted)} of {len(malformed)} malformed requests were not refused: {how}"]


def _other_releases(release: Release, results: Sequence[SmokeResult]) -> list[str]:
    expected = (release.run_id, release.digest)
    seen = {
        (result.response.release, result.response.digest) for result in results if result.response
    } - {expected}
    return [
        f"the endpoint answers as release {run} ({digest[:12]}…), not {release.run_id} "
        f"({release.digest[:12]}…)"
        for run, digest in sorted(seen)
    ]


def _wrong_answers(release: Release, results: Sequence[SmokeResult]) -> list[str]:
    wrong, responses = [], 0
    for result in results:
        got = result.response.predictions if result.response else ()
        sent = result.request.rows
        if len(got) != len(sent):
            return [f"{len(sent)} rows were sent and {len(got)} answered"]
        differences = [
            _difference(row, release.smoke[row].answer, answer)
            for row, answer in zip(sent, got, strict=True)
            if not _same(release.smoke[row].answer, answer)
        ]
        wrong += differences
        responses += bool(differences)
    if not wrong:
        return []
    quoted = ", ".join(wrong[:QUOTED]) + (", …" if len(wrong) > QUOTED else "")
    return [
        f"{responses} of {len(results)} answers differ from those recorded at packaging ({quoted})"
    ]


def _difference(row: int, recorded: SmokeAnswer, got: SmokeAnswer) -> str:
    return (
        f"row {row}: {got.location} ({got.confidence:.3f}) instead of "
        f"{recorded.location} ({recorded.confidence:.3f})"
    )


def _too_slow(latency_ms: float, bound_ms: float) -> list[str]:
    if latency_ms <= bound_ms:
        return []
    return [f"one row takes {latency_ms:.0f} ms (p95), more than the {bound_ms:.0f} ms allowed"]


def _same(recorded: SmokeAnswer, answered: SmokeAnswer) -> bool:
    return recorded.location == answered.location and all(
        _close(getattr(recorded, name), getattr(answered, name))
        for name in ("x", "y", "confidence")
    )


def _close(recorded: float | None, answered: float | None) -> bool:
    if recorded is None or answered is None:
        return recorded is answered
    return math.isclose(recorded, answered, rel_tol=0.0, abs_tol=TOLERANCE)
