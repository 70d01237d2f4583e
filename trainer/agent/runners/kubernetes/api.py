"""Requests to the Kubernetes API server, with retries, and watches.

Uses the official client for its transport, its credentials and its configuration, but not its
generated classes: importing those for Jobs and pods takes 100 MB (measured, client 37.0.1) of the
120 MB that the agent may have, and they drop fields that they don't know.

If the API server restarts, is overloaded or rejects the token, a request is repeated after a
growing, random pause, or the one that the server asks for. So a caller that creates an object may
find it there already, from an earlier attempt.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import urllib3
from kubernetes.client.exceptions import ApiException
from kubernetes.client.rest import RESTResponse
from pydantic import BaseModel, ValidationError

from trainer.agent.core.backoff import backoff_s
from trainer.agent.errors import ClusterError
from trainer.agent.runners.kubernetes.access import Access
from trainer.agent.runners.kubernetes.shapes import JsonObject, Page, Status

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_LONGEST_RETRY_AFTER_S = 30.0
_TRANSIENT = frozenset({401, 429, 500, 502, 503, 504})
_EXPIRED = 410

Found = TypeVar("Found", bound=BaseModel)


@dataclass(slots=True)
class Api:
    """One namespace of one cluster.

    Every method may raise `trainer.agent.errors.ClusterError`; its ``status`` is the HTTP status,
    None when there was no answer.
    """

    access: Access
    sleep: Callable[[float], object]
    """Waits so many seconds; may return earlier when the agent is stopped."""
    attempts: int = 5
    """How often a request is made before it counts as refused."""
    timeout_s: tuple[float, float] = (5.0, 30.0)
    """To connect, and between two bytes of an answer."""
    page: int = 500
    """How many objects one request lists."""
    on_failure: Callable[[], None] = lambda: None
    """Called for every failed request, for the metrics."""
    random_share: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)

    @property
    def namespace(self) -> str:
        """The namespace of all requests."""
        return self.access.namespace

    def path(self, group: str, resource: str, name: str = "") -> str:
        """The path of a resource in the namespace, such as ``apis/batch/v1`` and ``jobs``."""
        return f"/{group}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    def read(self, kind: type[Found], path: str) -> Found:
        """Read one object."""
        return _parsed(kind, self._request("GET", path))

    def text(self, path: str, **query: str) -> str:
        """Read text, such as a log."""
        return self._request("GET", path, query=query).decode(errors="replace")

    def list(self, kind: type[Found], path: str, **query: str) -> tuple[tuple[Found, ...], str]:
        """List objects, page by page, with the version that a watch can start from.

        A listing that takes so long that its continue token expires (410) is begun again.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return self._all_pages(kind, path, query)
            except ClusterError as error:
                if error.status != _EXPIRED or attempt == self.attempts:
                    raise
                self._pause(attempt, None)
        raise AssertionError("the last attempt returns or raises")

    def create(self, path: str, document: JsonObject) -> JsonObject:
        """Create an object and return what the server made of it."""
        return _document(self._request("POST", path, body=document))

    def create_once(self, path: str, document: JsonObject) -> JsonObject | None:
        """Create an object; None if its name is taken, maybe by an earlier attempt."""
        try:
            return self.create(path, document)
        except ClusterError as error:
            if error.status != 409:
                raise
            return None

    def update(self, path: str, document: JsonObject) -> None:
        """Replace an object; 409 if ``document`` does not name its current version."""
        self._request("PUT", path, body=document)

    def patch(self, path: str, changes: JsonObject) -> None:
        """Merge ``changes`` into an object (RFC 7386)."""
        self._request("PATCH", path, body=changes, content_type="application/merge-patch+json")

    def delete(self, path: str, options: JsonObject) -> None:
        """Delete an object."""
        self._request("DELETE", path, body=options)

    def watch(self, path: str, *, timeout_s: int, grace_s: float, **query: str) -> Iterator[bytes]:
        """Yield the lines of a watch until the server ends it; without retries.

        Args:
            path: the resource to watch.
            timeout_s: after how many seconds the server should end it.
            grace_s: how long after that a silent connection counts as dead.
            query: further parameters, such as ``resourceVersion``.
        """
        parameters = {**query, "watch": "true", "timeoutSeconds": str(timeout_s)}
        with _translated(f"watch {path}"):
            answer = self._send(
                "GET", path, parameters, None, None, (self.timeout_s[0], timeout_s + grace_s)
            )
            self._check(answer, f"watch {path}")
            buffered = b""
            # As it arrives: a watch must not wait for a full block.
            for chunk in answer.response.stream(amt=None, decode_content=True):
                *lines, buffered = (buffered + chunk).split(b"\n")
                yield from (line for line in lines if line)

    def _all_pages(
        self, kind: type[Found], path: str, query: Mapping[str, str]
    ) -> tuple[tuple[Found, ...], str]:
        found: list[Found] = []
        token = ""
        while True:
            more = {"continue": token} if token else {}
            body = self._request("GET", path, query={**query, "limit": str(self.page), **more})
            page = _parsed(Page[kind], body)  # type: ignore[valid-type]
            found += page.items
            token = page.metadata.continue_
            if not token:
                return tuple(found), page.metadata.resource_version

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonObject | None = None,
        content_type: str | None = None,
    ) -> bytes:
        what = f"{method} {path}"
        for attempt in range(1, self.attempts + 1):
            try:
                with _translated(what):
                    answer = self._send(method, path, query, body, content_type, self.timeout_s)
                    self._check(answer, what)
                    return _content(answer)
            except ClusterError as error:
                self.on_failure()
                if attempt == self.attempts or (error.status or 500) not in _TRANSIENT:
                    raise
                if error.status == 401:
                    self._log_in()
                self._pause(attempt, error.retry_after_s)
        raise AssertionError("the last attempt returns or raises")

    def _log_in(self) -> None:
        try:
            self.access.log_in()
        # The file may be half written; the next attempt reads it again.
        except (OSError, ValueError):
            return

    def _pause(self, attempt: int, retry_after_s: float | None) -> None:
        if retry_after_s is not None:
            self.sleep(
                min(retry_after_s, _LONGEST_RETRY_AFTER_S) + self.random_share() * _FIRST_PAUSE_S
            )
            return
        self.sleep(backoff_s(attempt, _FIRST_PAUSE_S * 2, _LONGEST_PAUSE_S, self.random_share()))

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: JsonObject | None,
        content_type: str | None,
        timeout_s: tuple[float, float],
    ) -> RESTResponse:
        client = self.access.client
        headers = {"Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = content_type or "application/json"
        request = client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        return client.call_api(*request, _request_timeout=timeout_s)

    def _check(self, answer: RESTResponse, what: str) -> None:
        if 200 <= answer.status <= 299:
            return
        status = _status(_content(answer))
        raise ClusterError(
            f"the API server refused {what}: {answer.status} "
            f"{status.message or status.reason or answer.reason}",
            status=answer.status,
            retry_after_s=_seconds(answer.headers.get("Retry-After")),
        )


def _content(answer: RESTResponse) -> bytes:
    return bytes(answer.read())  # type: ignore[no-untyped-call]


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
        raise ClusterError(
            f"the API server gave no answer to {what}: {error}", status=None
        ) from error


def _parsed(kind: type[Found], body: bytes) -> Found:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise ClusterError(
            f"the API server's answer can't be read: {error}", status=None
        ) from error


def _document(body: bytes) -> JsonObject:
    try:
        document: JsonObject = json.loads(body)
    except ValueError as error:
        raise ClusterError(
            f"the API server's answer can't be read: {error}", status=None
        ) from error
    return document


def _status(body: bytes) -> Status:
    try:
        return Status.model_validate_json(body)
    except ValidationError:  # a proxy's page, most likely
        return Status(message=body[:200].decode(errors="replace"))


def _seconds(retry_after: str | None) -> float | None:
    """``Retry-After`` in seconds, the only form that the API server uses."""
    return float(retry_after) if retry_after and retry_after.isdigit() else None
