"""boto3 clients of the embedded cloud's own pieces, all aimed at its front door.

Made without boto3's default session and without the environment, so that nothing of the process
that runs the cloud leaks in, nor out. Clients may be shared between threads; making one may not.
"""

import threading
from typing import Any

import boto3
from botocore.config import Config

from ops.local.settings import CloudSettings

# The cloud talks to itself on loopback: a retry would only hide a defect of ours.
_CONFIG = Config(
    connect_timeout=5, read_timeout=65, max_pool_connections=32, retries={"total_max_attempts": 1}
)


class ServiceClients:
    """One client for each service, made when first needed."""

    def __init__(self, address: str, settings: CloudSettings) -> None:
        self.address = address
        self._session = boto3.Session(
            aws_access_key_id="embedded",
            aws_secret_access_key="embedded",  # noqa: S106 - any value is taken here
            region_name=settings.region,
        )
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def get(self, service: str) -> Any:
        """The client of a service, such as ``sqs``; boto3 gives it no static type."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service, endpoint_url=self.address, config=_CONFIG
                )
            return self._clients[service]

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for client in self._clients.values():
                client.close()
