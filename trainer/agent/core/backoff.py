"""Pauses between repeats, drawn at random so that many agents do not act in step. Pure."""

from datetime import timedelta

_JITTER = 0.1


def backoff_s(failures: int, first_s: float, longest_s: float, random_share: float) -> float:
    """The pause before the next attempt: exponential, and between half and all of that.

    Args:
        failures: how many attempts have failed in a row, at least 1.
        first_s: the longest pause after the first failure.
        longest_s: the longest pause after any failure.
        random_share: a random number in 0 to 1.
    """
    longest = min(first_s * 2.0 ** min(failures - 1, 10), longest_s)
    return longest * (0.5 + random_share / 2)


def jittered(interval: timedelta, random_share: float) -> timedelta:
    """An interval, a tenth longer or shorter at most."""
    return interval * (1 + _JITTER * (2 * random_share - 1))
