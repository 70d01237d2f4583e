"""The smoke test: the endpoint must repeat the answers that the release recorded.

An endpoint that serves another release, or answers differently, must not stay live.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from events.base import Contract
from events.manifests import Release, SmokeAnswer

TOLERANCE = 1e-4
"""Largest accepted difference of a number (metres, or confidence in 0 to 1) to the recorded one.
The same weights in numpy differ by about 1e-6 between processors; a wrong model by far more."""
QUOTED = 3


class EndpointResponse(Contract):
    """The endpoint's response: the release that answers, and a prediction per row."""

    release: str
    digest: str
    predictions: tuple[SmokeAnswer, ...]


@dataclass(frozen=True)
class SmokeReport:
    """What is wrong; without problems the release may stay live."""

    problems: tuple[str, ...]
    latency_ms: float

    @property
    def passed(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    @property
    def reason(self) -> str:
        """All problems in one sentence."""
        return "; ".join(self.problems)


def judge_answers(
    release: Release,
    batch: EndpointResponse,
    single: Sequence[EndpointResponse],
    latencies_ms: Sequence[float],
    latency_bound_ms: float,
) -> SmokeReport:
    """Compare the endpoint's answers with those that the release recorded.

    Args:
        release: the release that should be live.
        batch: the response to the whole smoke set in one request.
        single: the responses to requests of one row each, the smoke set's first rows.
        latencies_ms: the latencies of the single requests, in milliseconds.
        latency_bound_ms: upper bound of their median.
    """
    latency = sorted(latencies_ms)[len(latencies_ms) // 2]
    problems = [
        *_other_releases(release, (batch, *single)),
        *_wrong_answers(release, batch),
        *_batch_dependent(batch, single),
        *_too_slow(latency, latency_bound_ms),
    ]
    return SmokeReport(tuple(problems), latency)


def _other_releases(release: Release, answers: Sequence[EndpointResponse]) -> list[str]:
    expected = (release.run_id, release.digest)
    seen = {(answer.release, answer.digest) for answer in answers} - {expected}
    return [
        f"the endpoint answers as release {run} ({digest[:12]}…), not {release.run_id} "
        f"({release.digest[:12]}…)"
        for run, digest in sorted(seen)
    ]


def _wrong_answers(release: Release, batch: EndpointResponse) -> list[str]:
    expected = len(release.smoke)
    if len(batch.predictions) != expected:
        return [f"{expected} rows were sent and {len(batch.predictions)} answered"]
    wrong = [
        f"row {row}: {got.location} ({got.confidence:.3f}) instead of "
        f"{case.answer.location} ({case.answer.confidence:.3f})"
        for row, (case, got) in enumerate(zip(release.smoke, batch.predictions, strict=True))
        if not _same(case.answer, got)
    ]
    if not wrong:
        return []
    quoted = ", ".join(wrong[:QUOTED]) + (", …" if len(wrong) > QUOTED else "")
    return [
        f"{len(wrong)} of {expected} answers differ from those recorded at packaging ({quoted})"
    ]


def _batch_dependent(batch: EndpointResponse, single: Sequence[EndpointResponse]) -> list[str]:
    alike = all(
        len(alone.predictions) == 1 and _same(together, alone.predictions[0])
        for together, alone in zip(batch.predictions, single, strict=False)
    )
    return [] if alike else ["a row is answered differently alone than in a batch"]


def _too_slow(latency_ms: float, bound_ms: float) -> list[str]:
    if latency_ms <= bound_ms:
        return []
    return [f"one row takes {latency_ms:.0f} ms (median), more than the {bound_ms:.0f} ms allowed"]


def _same(recorded: SmokeAnswer, answered: SmokeAnswer) -> bool:
    return recorded.location == answered.location and all(
        _close(getattr(recorded, name), getattr(answered, name))
        for name in ("x", "y", "confidence")
    )


def _close(recorded: float | None, answered: float | None) -> bool:
    if recorded is None or answered is None:
        return recorded is answered
    return math.isclose(recorded, answered, rel_tol=0.0, abs_tol=TOLERANCE)
