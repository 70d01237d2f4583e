"""The instances that serve one endpoint configuration, and how requests spread over them.

An instance that ends is replaced, as SageMaker replaces an unhealthy one; its requests, and those
that come meanwhile, wait for another instance. A fleet answers what it accepted before it closes.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ops.local.errors import ChildFailedError, LocalCloudError
from ops.local.faults.active import ActiveFault
from ops.local.processes import Processes
from ops.local.sagemaker.container_faults import invoke_with_faults
from ops.local.sagemaker.endpoint_process import (
    ContainerGoneError,
    ContainerRequest,
    ContainerResponse,
    ContainerSpec,
    ContainerTimeoutError,
    ServingProcess,
)

_log = logging.getLogger(__name__)
_PAUSE = 0.05  # seconds before a request that lost its instance is sent again
_REPLACEMENT_PAUSE = 0.5  # seconds before the next attempt to replace an instance


class FleetClosedError(LocalCloudError):
    """The fleet accepts no more requests: another one has the traffic."""


class Fleet:
    """The instances of one configuration.

    Args:
        spec: what each instance runs.
        count: the number of instances.
        processes: starts them.
        on_line: called with each line of the instances' output.
        faults: the faults of these instances.
    """

    def __init__(
        self,
        spec: ContainerSpec,
        count: int,
        processes: Processes,
        on_line: Callable[[str], None],
        faults: Callable[[], Sequence[ActiveFault]],
    ) -> None:
        self._spec = spec
        self.count = count
        self._processes = processes
        self._on_line = on_line
        self._faults = faults
        self._in_flight: dict[ServingProcess, int] = {}
        self._changed = threading.Condition()
        self._closed = False

    def start(self) -> None:
        """Start every instance and wait until all are ready.

        Raises:
            ChildFailedError: one of them did not get ready; none is left running.
        """
        try:
            self._start_more(self.count)
        except ChildFailedError:
            self.close()
            raise

    def resize(self, count: int) -> None:
        """Start or stop instances until there are ``count``; what is in flight is answered.

        Raises:
            ChildFailedError: a new one did not get ready; the others stay.
        """
        if count > self.count:
            self._start_more(count - self.count)
        for _ in range(self.count - count):
            with self._changed:
                self._changed.wait_for(self._idle, self._spec.request_timeout)
                instance = (self._idle() or list(self._in_flight))[0]
                del self._in_flight[instance]
            instance.stop()
        self.count = count

    def wait_until_ready(self) -> bool:
        """Wait while a replacement may be starting; returns whether any instance serves."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._in_flight), self._spec.startup_timeout)

    def pids(self) -> list[int]:
        """Process ids of the instances that serve now."""
        with self._changed:
            return [instance.pid for instance in self._in_flight]

    def invoke(self, request: ContainerRequest) -> ContainerResponse:
        """Send a request to the least busy instance.

        Raises:
            FleetClosedError: the fleet closed before any instance took the request.
            ContainerTimeoutError: no instance answered in time.
        """
        deadline = time.monotonic() + self._spec.request_timeout
        while True:
            instance = self._acquire(deadline)
            try:
                return invoke_with_faults(instance, request, self._faults(), deadline)
            except ContainerGoneError:
                time.sleep(_PAUSE)
            finally:
                self._release(instance)

    def close(self) -> None:
        """Refuse new requests, finish those in flight, then stop every instance."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: not any(self._in_flight.values()), self._spec.request_timeout
            )
            instances, self._in_flight = list(self._in_flight), {}
        for instance in instances:
            instance.stop()

    def terminate(self) -> None:
        """End every instance at once, because the whole cloud ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            instances, self._in_flight = list(self._in_flight), {}
        for instance in instances:
            instance.kill()

    def _idle(self) -> list[ServingProcess]:
        return [instance for instance, requests in self._in_flight.items() if not requests]

    def _start_more(self, count: int) -> None:
        with ThreadPoolExecutor(max_workers=count) as executor:
            starts = [executor.submit(self._start_one) for _ in range(count)]
        for start in starts:
            start.result()

    def _acquire(self, deadline: float) -> ServingProcess:
        with self._changed:
            while not self._closed:
                if self._in_flight:
                    instance = min(self._in_flight, key=self._in_flight.__getitem__)
                    self._in_flight[instance] += 1
                    return instance
                if not self._changed.wait(deadline - time.monotonic()):
                    raise ContainerTimeoutError("no instance is left to answer")
            raise FleetClosedError("another fleet has the traffic")

    def _release(self, instance: ServingProcess) -> None:
        with self._changed:
            if instance in self._in_flight:
                self._in_flight[instance] -= 1
                self._changed.notify_all()

    def _start_one(self) -> None:
        instance = ServingProcess(self._spec, self._processes, self._on_line)
        try:
            instance.wait_until_ready()
        except ChildFailedError:
            instance.stop()
            raise
        with self._changed:
            if not self._closed:
                self._in_flight[instance] = 0
                self._changed.notify_all()
                threading.Thread(
                    target=self._watch, args=(instance,), name=self._spec.label, daemon=True
                ).start()
                return
        instance.stop()

    def _watch(self, instance: ServingProcess) -> None:
        """Replace the instance when it ends, unless the fleet ended it."""
        status = instance.wait_for_end()
        with self._changed:
            if self._closed or self._in_flight.pop(instance, None) is None:
                return
        _log.warning("%s ended with status %d; it is replaced", self._spec.label, status)
        instance.stop()
        self._replace()

    def _replace(self) -> None:
        while not self._closed:
            try:
                self._start_one()
            except ChildFailedError as error:
                _log.warning("no replacement yet: %s", error)
                time.sleep(_REPLACEMENT_PAUSE)
            else:
                return
