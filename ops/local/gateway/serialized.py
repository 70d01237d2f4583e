"""One request at a time to moto's DynamoDB and S3, because their conditional writes race.

Before a transaction moto copies a whole table and, if a condition fails, restores the copy: what
another thread wrote in between is lost (`transact_write_items`, moto 5.2.5). A conditional put to
S3 checks the key and writes it in two steps.
"""

import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class SerializedApplication:
    """A WSGI application that finishes each request before it takes the next."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(
        self, environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer one request; the whole response is there when this returns."""
        with self._lock:
            return list(self._application(environment, start_response))
