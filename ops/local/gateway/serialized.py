"""Requests to moto's DynamoDB and S3, one at a time each: conditional writes may not overlap.

The ledger and the claims of releases stand on those. moto copies a whole table before a transaction
and, if a condition fails, puts the copy back: whatever another thread wrote in between is lost
(`transact_write_items`, moto 5.2.5). It looks for a key and takes it in two steps as well.
"""

import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class SerializedApplication:
    """A WSGI application that answers each request before it takes the next."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(
        self, environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer when it is this request's turn; the whole answer is there when it returns."""
        with self._lock:
            return list(self._application(environment, start_response))
