"""What the tests of the embedded cloud share beside their fixtures."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

IMAGE = "stand-in:1"
Got = TypeVar("Got")


def eventually(probe: Callable[[], Got | None], seconds: float = 15.0) -> Got:
    """Ask until there is an answer; fails with the probe's name after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.02)
    pytest.fail(f"no answer within {seconds:g} s from {probe}")
