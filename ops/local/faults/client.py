"""Sets and clears faults in an embedded cloud that runs in another process."""

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from ops.local.errors import LocalCloudError, ServiceError
from ops.local.faults.active import FaultRequest
from ops.local.faults.kinds import PATH

_TIMEOUT = 10.0  # seconds
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NoEmbeddedCloudError(LocalCloudError):
    """The address is not that of an embedded cloud: faults are never set in an account."""


class FaultClient:
    """Faults of the embedded cloud at an address.

    Args:
        address: the value of ``AWS_ENDPOINT_URL``.

    Raises:
        NoEmbeddedCloudError: no embedded cloud answers there.
    """

    def __init__(self, address: str | None) -> None:
        if address is None or urlsplit(address).hostname not in _LOOPBACK:
            raise NoEmbeddedCloudError(
                "Faults are for the embedded cloud only, never for an AWS account: start it with "
                "`rssi up` and set what it prints."
            )
        self._url = address.rstrip("/") + PATH

    def set(self, fault: FaultRequest) -> None:
        """Set a fault.

        Raises:
            ServiceError: the cloud refuses it.
        """
        self._send("POST", fault.model_dump_json(by_alias=True).encode())

    def active(self) -> list[dict[str, Any]]:
        """Every fault that holds."""
        faults: list[dict[str, Any]] = self._send("GET")["Faults"]
        return faults

    def clear(self, endpoint: str | None = None) -> int:
        """End the faults of an endpoint, or all; returns how many there were."""
        query = f"?{urllib.parse.urlencode({'endpoint': endpoint})}" if endpoint else ""
        return int(self._send("DELETE", query=query)["Cleared"])

    def _send(self, method: str, body: bytes | None = None, query: str = "") -> dict[str, Any]:
        request = urllib.request.Request(self._url + query, body, method=method)  # noqa: S310 - loopback
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (OSError, ValueError) as error:
            raise NoEmbeddedCloudError(f"No embedded cloud answers at {self._url}.") from error
        if "Faults" not in answer and "Cleared" not in answer:
            raise NoEmbeddedCloudError(f"{self._url} is not of an embedded cloud.")
        return answer


def _refusal(error: urllib.error.HTTPError) -> LocalCloudError:
    try:
        content = json.load(error)
        return ServiceError(content["__type"], content["message"])
    except (ValueError, KeyError):
        return NoEmbeddedCloudError(f"{error.url} is not of an embedded cloud: {error}.")
