"""What the tests of the embedded cloud share beside their fixtures."""

import io
import time
import zipfile
from collections.abc import Callable
from typing import TypeVar

import pytest

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/fake-container:1"
ROLE = "arn:aws:iam::123456789012:role/embedded"
Got = TypeVar("Got")


def eventually(probe: Callable[[], Got | None], seconds: float = 15.0) -> Got:
    """Poll until the probe returns something true; fails with its name after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = probe()
        if answer:
            return answer
        time.sleep(0.02)
    pytest.fail(f"no answer within {seconds:g} s from {probe}")


def zipped(path: str, text: str) -> bytes:
    """A zip archive with one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(path, text)
    return buffer.getvalue()
