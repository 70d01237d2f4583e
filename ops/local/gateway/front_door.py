"""One loopback address for every AWS service: the SigV4 scope of a request names the service.

Every call passes `FrontDoor._dispatch`, which hands it to an emulated service, to a wrapped moto
application, or to moto. waitress serves it: it answers ``Expect: 100-continue`` (boto3 sends it
with every PUT; `_RequestParser` mends one case), reads chunked bodies, and disables Nagle's
algorithm. A request holds a thread, an SQS long poll for up to 20 s, so there are many.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
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
    AwsRequest,
    AwsResponse,
    ServiceHandler,
    error_response,
    json_response,
    request_from,
)

_LOOPBACK = "127.0.0.1"
_MAX_BODY = 5 * 1024**3  # S3's own limit for one PUT
_WAKE_UP = 30.0  # seconds; waitress looks for idle connections then


class _RequestParser(waitress.parser.HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Mends waitress 3.0.2, which never stops waiting for the body of an empty ``Expect`` PUT."""

    def received(self, data: bytes) -> int:
        """Take bytes; a complete request needs no 100 Continue."""
        consumed: int = super().received(data)
        if self.completed:
            self.expect_continue = False
        return consumed


class _Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]  # waitress has no types
    parser_class = _RequestParser


class FrontDoor:
    """The server and its dispatch; bound to its address at once, serving when opened.

    Args:
        port: TCP port on loopback; 0 takes a free one.
        threads: requests served at once.
    """

    def __init__(self, port: int, threads: int) -> None:
        self._services: dict[str, ServiceHandler] = {}
        self._applications: dict[str, WSGIApplication] = {}
        self._sockets: dict[int, object] = {}
        self._server: Any = waitress.server.create_server(
            self._dispatch,
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
        unsigned: Mapping[str, ServiceHandler],
        refuse: Callable[[AwsRequest], None],
    ) -> None:
        """Start serving.

        Args:
            services: emulated services by signing name.
            applications: WSGI applications by signing name.
            fallback: the WSGI application for every other service.
            unsigned: what answers unsigned requests, by path.
            refuse: raises a ServiceError for a call that is to fail.
        """
        self._services.update(services)
        self._applications.update(applications)
        self._fallback = fallback
        self._unsigned = dict(unsigned)
        self._refuse = refuse
        self._thread.start()

    def close(self) -> None:
        """Stop serving; requests in flight lose their connection."""
        self._closing = True
        if self._thread.is_alive():
            self._server.pull_trigger()
            self._thread.join()
        self._server.task_dispatcher.set_thread_count(0)
        waitress.wasyncore.close_all(self._sockets)

    def _serve(self) -> None:
        while not self._closing:
            waitress.wasyncore.loop(timeout=_WAKE_UP, use_poll=True, map=self._sockets, count=1)

    def _dispatch(
        self, environment: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        name = signing_name(environment)
        if name is None:
            unsigned = self._unsigned.get(environment["PATH_INFO"])
            if unsigned:
                return _send(self._call(unsigned, environment), start_response)
            return _send(_usage(self.address), start_response)
        if name in self._services:
            return _send(self._call(self._services[name], environment), start_response)
        if "HTTP_X_AMZ_TARGET" in environment:
            try:
                self._refuse(request_from(environment, b""))
            except ServiceError as error:
                return _send(error_response(error), start_response)
        # moto reads keys such as `a%41` from here; PATH_INFO has them decoded.
        environment["RAW_URI"] = environment["REQUEST_URI"]
        application = self._applications.get(name, self._fallback)
        return application(environment, start_response)

    def _call(self, service: ServiceHandler, environment: WSGIEnvironment) -> AwsResponse:
        body = cast("IO[bytes]", environment["wsgi.input"]).read()
        request = request_from(environment, body)
        try:
            self._refuse(request)
            return service(request)
        except ServiceError as error:
            return error_response(error)


def signing_name(environment: WSGIEnvironment) -> str | None:
    """The service that a request was signed for, from its header or (presigned) its query.

    Example: ``s3`` for ``AWS4-HMAC-SHA256 Credential=id/20261122/us-east-1/s3/aws4_request, ...``.
    """
    header = environment.get("HTTP_AUTHORIZATION", "")
    credential = header.partition("Credential=")[2].partition(",")[0]
    if not credential:
        query = parse_qs(environment.get("QUERY_STRING", ""))
        if "AWSAccessKeyId" in query:
            return "s3"  # only S3 still takes SigV2 URLs, boto3's default here
        credential = query.get("X-Amz-Credential", [""])[0]
    scope = credential.split("/")
    return scope[-2].lower() if len(scope) >= 5 else None


def _usage(address: str) -> AwsResponse:
    return json_response(
        {
            "service": "the embedded cloud",
            "use": f"AWS_ENDPOINT_URL={address} with any credentials; requests must be signed, "
            "because the signature's scope names the service",
        }
    )


def _send(response: AwsResponse, start_response: StartResponse) -> Iterable[bytes]:
    headers = {**response.headers, "Content-Length": str(len(response.body))}
    phrase = HTTPStatus(response.status).phrase
    start_response(f"{response.status} {phrase}", list(headers.items()))
    return [response.body]
