"""A client that sends requests without pause while the endpoint is updated."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ops.account.prediction_client import Prediction
from ops.errors import OpsError

PAUSE_S = 0.01


class Probe:
    """Sends one request after the other in a thread, and counts them.

    Args:
        ask: sends one request.
    """

    def __init__(self, ask: Callable[[], Prediction]) -> None:
        self._ask = ask
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self.requests = 0
        self.failures: list[str] = []
        self.releases: list[str] = []
        """The ids of the releases that answered, in order; a new entry at each change."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def run_for(self, requests: int, timeout_s: float = 10) -> None:
        """Wait until this many further requests have been made, or the time is up."""
        until, deadline = self.requests + requests, time.monotonic() + timeout_s
        while self.requests < until and time.monotonic() < deadline:
            time.sleep(PAUSE_S)

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            try:
                release = self._ask().release
            except OpsError as error:
                self.failures.append(str(error))
            else:
                if not self.releases or self.releases[-1] != release:
                    self.releases.append(release)
            self.requests += 1
