"""A fake API server: real HTTP, objects in memory, and trouble on request.

For tests and measurements where there is no cluster. It knows Jobs, pods, events, Leases and access
reviews of one namespace, as far as the agent uses them: names are taken once (409), versions are
compared (409), merge patches, label and field selectors, pages, watches with bookmarks, versions
that are too old (410). Nothing runs: `finish` does what a kubelet and the Job controller would.
"""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from trainer.agent.runners.kubernetes.manifest import CONTAINER
from trainer.agent.runners.kubernetes.shapes import Job
from trainer.training.job.outcome import FINAL_FAILURES

Document = dict[str, Any]  # JSON objects as they came; they stay inside this module

_PATH = re.compile(
    r"/apis?/(?:[^/]+/)?v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>jobs|pods|events|leases)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>status|log))?"
)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_VERSIONS: Final = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_NAME = 253
_BOOKMARK_EVERY_S = 0.5


@dataclass(slots=True)
class Fault:
    """Something that goes wrong with the next requests that it fits."""

    method: str
    """HTTP method, or ``WATCH``."""
    path: str = ""
    """A part of the path."""
    status: int | None = None
    """What is answered; None hangs up without an answer."""
    retry_after_s: int | None = None
    times: int = 1
    done_first: bool = False
    """Whether what was asked for happens all the same: only the answer is lost."""
    delay_s: float = 0.0
    """How long the server is silent before; with a watch, how long it stalls."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    query: Mapping[str, str]


class _Refused(Exception):  # noqa: N818 - an answer, not a defect
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(slots=True)
class FakeApiServer:
    """One namespace of a cluster that has an API and nothing else."""

    namespace: str = "rssi"
    drops: tuple[str, ...] = ()
    """Fields of a Job's spec that this server is too old to know."""
    token: str | None = None
    """The only bearer token that is taken; None takes every one."""
    allowed: Callable[[str, str], bool] = lambda _verb, _resource: True
    """What an access review answers, by verb and resource."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    """What pods have printed, by name."""
    on_job: Callable[[str], None] = lambda _name: None
    """Called, from the request's thread, with the name of each Job that was created."""
    _objects: dict[tuple[str, str], Document] = field(default_factory=dict, init=False)
    _history: list[tuple[int, str, str, Document]] = field(default_factory=list, init=False)
    _version: int = field(default=100, init=False)
    _oldest: int = field(default=0, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _server: ThreadingHTTPServer | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin to listen; on the same port as before, if it did already."""
        self._server = _ApiHttpServer(self._port, self)
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections until `start`; what is stored stays."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None
        with self._changed:
            self._changed.notify_all()

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self._server is not None

    def jobs(self) -> tuple[Job, ...]:
        """Every Job that is stored."""
        with self._changed:
            return tuple(
                Job.model_validate(found)
                for (kind, _), found in self._objects.items()
                if kind == "jobs"
            )

    def manifest(self, job: str) -> Document:
        """A Job as it is stored."""
        return self._objects["jobs", job]

    def forget_history(self) -> None:
        """Make every version that is known so far too old to watch from, as compaction does."""
        with self._changed:
            self._version += 1
            self._oldest = self._version
            self._changed.notify_all()

    def add_event(self, job: str, reason: str, message: str) -> None:
        """Record an event about a Job."""
        about = self._objects["jobs", job]["metadata"]
        document = {
            "metadata": {"name": f"{job}.{uuid.uuid4().hex[:8]}"},
            "involvedObject": {"kind": "Job", "name": job, "uid": about["uid"]},
            "reason": reason,
            "message": message,
        }
        self.create("events", document)

    def add_pod(self, job: str, status: Mapping[str, object]) -> str:
        """Put a pod of a Job into the cluster, as the Job controller does; returns its name."""
        name = f"{job}-{uuid.uuid4().hex[:5]}"
        labels = self._objects["jobs", job]["spec"]["template"]["metadata"]["labels"]
        self.create("pods", {"metadata": {"name": name, "labels": labels}, "status": {**status}})
        return name

    def remove_pods(self, job: str) -> None:
        """Delete a Job's pods, as the Job controller does at a deadline."""
        for (kind, name), found in list(self._objects.items()):
            if kind == "pods" and found["metadata"]["labels"].get("rssi-mlops/run") == job:
                self.delete(kind, name, {})

    def set_status(self, job: str, **changes: object) -> None:
        """Change a Job's status."""
        self.patch("jobs", job, {"status": changes})

    def run(self, job: str) -> None:
        """Let a Job's pod run."""
        self.add_pod(job, {"phase": "Running"})
        self.set_status(job, active=1, ready=1, startTime=_now())

    def finish(
        self, job: str, exit_code: int, *, message: str = "", reason: str = "", log: str = ""
    ) -> None:
        """Let a Job's pod end, and the Job with it, as its failure policy says.

        Args:
            job: the Job's name.
            exit_code: of the training container.
            message: what it left as its termination message.
            reason: the kubelet's word for the end, such as OOMKilled.
            log: what it printed.
        """
        ended = {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "finishedAt": _now(),
        }
        status = {"name": CONTAINER, "state": {"terminated": ended}}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        pod = self.add_pod(job, {"phase": phase, "containerStatuses": [status]})
        self.logs[pod] = log
        if exit_code == 0:
            self.end(job, "Complete", "CompletionsReached")
        elif exit_code in FINAL_FAILURES and "podFailurePolicy" not in self.drops:
            said = f"Container {CONTAINER} for pod {self.namespace}/{pod} failed with exit code "
            rule = f"{exit_code} matching FailJob rule at index 0"
            self.end(job, "Failed", "PodFailurePolicy", said + rule)
        else:
            self.end(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified limit")

    def finish_index(self, job: str, index: int, exit_code: int, *, message: str = "") -> None:
        """Let the pod of one number of an Indexed Job end, and the Job with it if it is time.

        Args:
            job: the Job's name.
            index: the number.
            exit_code: of the training container.
            message: what it left as its termination message.
        """
        ended = {"exitCode": exit_code, "message": message, "finishedAt": _now()}
        status = {"name": CONTAINER, "state": {"terminated": ended}}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        self.add_pod(job, {"phase": phase, "containerStatuses": [status]})
        if exit_code in FINAL_FAILURES:
            rule = f"exit code {exit_code} matching FailJob rule at index 0"
            self.end(job, "Failed", "PodFailurePolicy", f"The pod of index {index} failed, {rule}")
        elif exit_code == 0:
            stored = self.manifest(job)
            succeeded = stored["status"].get("succeeded", 0) + 1
            self.set_status(job, succeeded=succeeded)
            if succeeded == stored["spec"]["completions"]:
                self.end(job, "Complete", "CompletionsReached")

    def end(self, job: str, condition: str, reason: str, message: str = "") -> None:
        """Let a Job end with a condition: Complete or Failed."""
        now = _now()
        early = "SuccessCriteriaMet" if condition == "Complete" else "FailureTarget"
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": now,
            }
            for kind in (early, condition)
        ]
        completion = {"completionTime": now} if condition == "Complete" else {}
        self.set_status(job, active=0, ready=0, conditions=conditions, **completion)

    def create(self, kind: str, document: Document) -> Document:
        """Store an object that is new."""
        name = str(document.get("metadata", {}).get("name", ""))
        if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise _Refused(422, "Invalid", f'metadata.name: Invalid value: "{name}"')
        with self._changed:
            if (kind, name) in self._objects:
                raise _Refused(409, "AlreadyExists", f'{kind} "{name}" already exists')
            version, proper = _VERSIONS[kind]
            created = {"uid": str(uuid.uuid4()), "creationTimestamp": _now()}
            metadata = {"namespace": self.namespace, **document["metadata"], **created}
            stored = {"apiVersion": version, "kind": proper, **document, "metadata": metadata}
            if kind == "jobs":
                kept = {k: v for k, v in document["spec"].items() if k not in self.drops}
                stored |= {"spec": kept, "status": {}}
            return self._store(kind, name, stored, "ADDED")

    def replace(self, kind: str, name: str, document: Document) -> Document:
        """Store an object anew, if it is still the version that the document names."""
        with self._changed:
            before = self._get(kind, name)
            named = document["metadata"].get("resourceVersion")
            if named and named != before["metadata"]["resourceVersion"]:
                raise _Refused(409, "Conflict", f"{kind} {name}: the object has been modified")
            metadata = {**before["metadata"], **document["metadata"]}
            return self._store(kind, name, {**before, **document, "metadata": metadata}, "MODIFIED")

    def patch(self, kind: str, name: str, changes: Mapping[str, object]) -> Document:
        """Merge changes into an object."""
        with self._changed:
            merged = _merge(self._get(kind, name), changes)
            return self._store(kind, name, merged, "MODIFIED")

    def delete(self, kind: str, name: str, options: Document) -> Document:
        """Delete an object, and a Job's pods with it."""
        with self._changed:
            found = self._get(kind, name)
            uid = options.get("preconditions", {}).get("uid")
            if uid not in {None, found["metadata"]["uid"]}:
                raise _Refused(409, "Conflict", "the UID in the precondition does not match")
            del self._objects[kind, name]
            self._version += 1
            self._note(kind, "DELETED", found)
        if kind == "jobs":
            self.remove_pods(name)
        return found

    def read(self, kind: str, name: str) -> Document:
        """One object."""
        with self._changed:
            return self._get(kind, name)

    def list(self, kind: str, query: Mapping[str, str]) -> Document:
        """One page of the objects that the selectors choose."""
        start, limit = int(query.get("continue") or 0), int(query.get("limit") or 10**9)
        with self._changed:
            chosen = [
                found
                for (own, _), found in self._objects.items()
                if own == kind and _selected(found, query)
            ]
            version, proper = _VERSIONS[kind]
            place = str(start + limit) if start + limit < len(chosen) else ""
            metadata = {"resourceVersion": str(self._version), "continue": place}
        items = chosen[start : start + limit]
        return {
            "apiVersion": version,
            "kind": f"{proper}List",
            "metadata": metadata,
            "items": items,
        }

    def watch(self, kind: str, query: Mapping[str, str]) -> Iterator[Document]:
        """What happens to objects from a version on, until the time is up."""
        seen = int(query.get("resourceVersion") or 0)
        ends_at = time.monotonic() + float(query.get("timeoutSeconds") or 60)
        while self.serving and time.monotonic() < ends_at:
            with self._changed:
                if seen < self._oldest:
                    yield {"type": "ERROR", "object": _failure(410, "Expired", "too old")}
                    return
                new = [entry for entry in self._history if entry[0] > seen]
                if not new:
                    self._changed.wait(min(_BOOKMARK_EVERY_S, ends_at - time.monotonic()))
                seen = max([seen, *(entry[0] for entry in new)])
            yield from (
                {"type": what, "object": found}
                for _, own, what, found in new
                if own == kind and _selected(found, query)
            )
            if not new and query.get("allowWatchBookmarks"):
                yield {
                    "type": "BOOKMARK",
                    "object": {"metadata": {"resourceVersion": str(seen)}},
                }

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that the next such request meets, if one is left for it."""
        with self._changed:
            for fault in self.faults:
                if fault.method == method and fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def _get(self, kind: str, name: str) -> Document:
        if (kind, name) not in self._objects:
            raise _Refused(404, "NotFound", f'{kind} "{name}" not found')
        return self._objects[kind, name]

    def _store(self, kind: str, name: str, document: Document, what: str) -> Document:
        self._version += 1
        metadata = {**document["metadata"], "resourceVersion": str(self._version)}
        stored = {**document, "metadata": metadata}
        self._objects[kind, name] = stored
        self._note(kind, what, stored)
        return stored

    def _note(self, kind: str, what: str, document: Document) -> None:
        self._history.append((self._version, kind, what, document))
        self._changed.notify_all()


class _ApiHttpServer(ThreadingHTTPServer):
    daemon_threads = True
    # Many requests at once must not be turned away before anyone looks at them.
    request_queue_size = 128

    def __init__(self, port: int, fake: FakeApiServer) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", port), _ApiRequestHandler)

    def handle_error(self, *_: object) -> None:
        """A client that hung up is no news."""


class _ApiRequestHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _ApiHttpServer

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_PUT(self) -> None:
        self._serve("PUT")

    def do_PATCH(self) -> None:
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def log_message(self, *_: object) -> None:
        """The caller looks at `requests`."""

    def _serve(self, method: str) -> None:
        if not self.server.fake.serving:
            # Stopping must also cut the connections that are kept open.
            self.close_connection = True
            return
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        watching = query.get("watch") == "true"
        kind = "WATCH" if watching else method
        self.server.fake.requests.append(Request(kind, address.path, query))
        fault = self.server.fake.take_fault(kind, address.path)
        if fault and self._suffer(fault, method, address.path, query, body):
            return
        try:
            self._authenticate()
            if watching:
                self._stream(address.path, query)
                return
            answer, status = _answer(self.server.fake, method, address.path, query, body)
        except _Refused as refused:
            answer = _failure(refused.status, refused.reason, refused.message)
            status = refused.status
        self._send(status, answer)

    def _suffer(
        self, fault: Fault, method: str, path: str, query: Mapping[str, str], body: bytes
    ) -> bool:
        """Let the fault happen; False if the request is served after all."""
        time.sleep(fault.delay_s)
        if fault.done_first:
            _answer(self.server.fake, method, path, query, body)
        if fault.status is None:
            self.close_connection = True
            return True
        if fault.status == HTTPStatus.OK:
            return False
        failure = _failure(fault.status, HTTPStatus(fault.status).phrase, "on request")
        asked = {"Retry-After": str(fault.retry_after_s)} if fault.retry_after_s else {}
        self._send(fault.status, failure, asked)
        return True

    def _authenticate(self) -> None:
        given = self.headers.get("Authorization", "").lower()
        if self.server.fake.token and given != f"bearer {self.server.fake.token}".lower():
            raise _Refused(401, "Unauthorized", "Unauthorized")

    def _stream(self, path: str, query: Mapping[str, str]) -> None:
        kind = _kind(self.server.fake, path)[0]
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        for event in self.server.fake.watch(kind, query):
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _send(
        self, status: int, answer: Document | str, headers: Mapping[str, str] | None = None
    ) -> None:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _answer(
    fake: FakeApiServer, method: str, path: str, query: Mapping[str, str], body: bytes
) -> tuple[Document | str, int]:
    document: Document = json.loads(body) if body else {}
    if path == _REVIEW:
        asked = document["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        return {**document, "status": {"allowed": fake.allowed(asked["verb"], resource)}}, 201
    kind, name, part = _kind(fake, path)
    if part == "log":
        return _log(fake, name, query), 200
    if method == "POST":
        created = fake.create(kind, document)
        if kind == "jobs":
            fake.on_job(created["metadata"]["name"])
        return created, 201
    if method == "GET":
        return (fake.read(kind, name) if name else fake.list(kind, query)), 200
    change = {"PUT": fake.replace, "PATCH": fake.patch, "DELETE": fake.delete}[method]
    return change(kind, name, document), 200


def _kind(fake: FakeApiServer, path: str) -> tuple[str, str, str]:
    match = _PATH.fullmatch(path)
    if match is None or match["namespace"] != fake.namespace:
        raise _Refused(404, "NotFound", "the server could not find the requested resource")
    return match["kind"], match["name"] or "", match["part"] or ""


def _log(fake: FakeApiServer, pod: str, query: Mapping[str, str]) -> str:
    if pod not in fake.logs:
        raise _Refused(404, "NotFound", f'pods "{pod}" not found')
    lines = fake.logs[pod].splitlines()
    return "\n".join(lines[-int(query.get("tailLines") or len(lines) or 1) :])


def _selected(document: Document, query: Mapping[str, str]) -> bool:
    labels = document["metadata"].get("labels", {})
    by_label = all(labels.get(key) == value for key, value in _pairs(query, "labelSelector"))
    by_field = all(
        _at(document, key.split(".")) == value for key, value in _pairs(query, "fieldSelector")
    )
    return by_label and by_field


def _pairs(query: Mapping[str, str], selector: str) -> Iterable[tuple[str, str]]:
    for term in filter(None, query.get(selector, "").split(",")):
        key, _, value = term.partition("=")
        yield key, value


def _at(document: Any, path: list[str]) -> Any:
    for name in path:
        document = document.get(name, {})
    return document


def _merge(document: Any, changes: Any) -> Any:
    if not isinstance(changes, Mapping):
        return changes
    merged = {**document} if isinstance(document, Mapping) else {}
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _failure(status: int, reason: str, message: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": status,
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
