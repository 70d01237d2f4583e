"""One loopback address for every AWS service: the SigV4 scope of a request says which one it means.

Events, Lambda and SageMaker are answered by this package, S3 by moto with its answers watched, all
else by moto. waitress serves it: it answers ``Expect: 100-continue`` (boto3 sends it with every
PUT; see `_Parser` for the one case it gets wrong), reads chunked bodies, and disables Nagle's
algorithm. Each request holds one thread, an SQS long poll for up to 20 s, so there are many.
"""

import threading
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import IO, Any, cast
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import waitress.channel
import waitress.parser
import waitress.server
import waitress.wasyncore

from ops.local.errors import ServiceError
from ops.local.gateway.protocol import (
    ApiResponse,
    ServiceHandler,
    error_response,
    json_response,
    request_from,
)

_LOOPBACK = "127.0.0.1"
_MAX_BODY = 5 * 1024**3  # S3's own limit for one PUT
_WAKE_UP = 30.0  # seconds; waitress looks for idle connections then


class _RequestParser(waitress.parser.HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """waitress 3.0.2 waits for ever for the body of an empty PUT that expects a 100 Continue."""

    def received(self, data: bytes) -> int:
        """Take bytes; a request that is complete needs no permission to continue."""
        consumed: int = super().received(data)
        if self.completed:
            self.expect_continue = False
        return consumed


class _Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]  # waitress has no types
    parser_class = _RequestParser


class FrontDoor:
    """The server and its dispatch; it is bound to its address at once, and serves when opened.

    Args:
        port: TCP port on loopback; 0 takes a free one.
        threads: requests served at once.
    """

    def __init__(self, port: int, threads: int) -> None:
        self._services: dict[str, ServiceHandler] = {}
        self._applications: dict[str, WSGIApplication] = {}
        self._sockets: dict[int, object] = {}
        self._server: Any = waitress.server.create_server(
            self._answer,
            map=self._sockets,
            host=_LOOPBACK,
            port=port,
            threads=threads,
            connection_limit=1000,
            channel_timeout=300,
            max_request_body_size=_MAX_BODY,
            clear_untrusted_proxy_headers=False,
            ident=None,
        )
        self._server.channel_class = _Channel
        self.address = f"http://{_LOOPBACK}:{self._server.effective_port}"
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="front-door", daemon=True)

    def open(
        self,
        services: Mapping[str, ServiceHandler],
        applications: Mapping[str, WSGIApplication],
        fallback: WSGIApplication,
    ) -> None:
        """Serve from now on.

        Args:
            services: signing name to what answers for it in this package.
            applications: signing name to a WSGI application that answers for it.
            fallback: the WSGI application for every other service.
        """
        self._services.update(services)
        self._applications.update(applications)
        self._fallback = fallback
        self._thread.start()

    def close(self) -> None:
        """Stop serving; a request that is still being answered loses its connection."""
        self._closing = True
        if self._thread.is_alive():
            self._server.pull_trigger()
            self._thread.join()
        self._server.task_dispatcher.set_thread_count(0)
        waitress.wasyncore.close_all(self._sockets)

    def _serve(self) -> None:
        while not self._closing:
            waitress.wasyncore.loop(timeout=_WAKE_UP, use_poll=True, map=self._sockets, count=1)

    def _answer(
        self, environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        name = signing_name(environment)
        if name is None:
            return _send(_greeting(self.address), start_response)
        if name in self._services:
            return _send(_call(self._services[name], environment), start_response)
        # moto takes keys such as `a%41` from here; in PATH_INFO they are decoded already.
        environment["RAW_URI"] = environment["REQUEST_URI"]
        application = self._applications.get(name, self._fallback)
        return application(environment, start_response)


def signing_name(environment: WSGIEnvironment) -> str | None:
    """The service that a request was signed for, in its header or (presigned) its query.

    Example: ``s3`` for ``AWS4-HMAC-SHA256 Credential=id/20261122/us-east-1/s3/aws4_request, ...``.
    """
    header = environment.get("HTTP_AUTHORIZATION", "")
    credential = header.partition("Credential=")[2].partition(",")[0]
    if not credential:
        query = parse_qs(environment.get("QUERY_STRING", ""))
        if "AWSAccessKeyId" in query:
            return "s3"  # only S3 still takes URLs signed the older way, boto3's default here
        credential = query.get("X-Amz-Credential", [""])[0]
    scope = credential.split("/")
    return scope[-2].lower() if len(scope) >= 5 else None


def _call(service: ServiceHandler, environment: WSGIEnvironment) -> ApiResponse:
    body = cast("IO[bytes]", environment["wsgi.input"]).read()
    try:
        return service(request_from(environment, body))
    except ServiceError as error:
        return error_response(error)


def _greeting(address: str) -> ApiResponse:
    return json_response(
        {
            "service": "the embedded cloud of rssi-mlops",
            "use": f"AWS_ENDPOINT_URL={address} with any credentials; requests must be signed, "
            "because the signature's scope says which service is meant",
        }
    )


def _send(response: ApiResponse, start_response: StartResponse) -> Iterable[bytes]:
    headers = {**response.headers, "Content-Length": str(len(response.body))}
    phrase = HTTPStatus(response.status).phrase
    start_response(f"{response.status} {phrase}", list(headers.items()))
    return [response.body]
