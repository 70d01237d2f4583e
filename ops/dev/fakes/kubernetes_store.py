"""The objects of a fake API server, in memory.

Names are taken once (409), versions are compared (409), merge patches, label and field selectors,
pages, watches with bookmarks, versions that are too old (410).
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

Document = dict[str, Any]  # JSON objects as they came; they stay inside the fake

_VERSIONS: Final = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LONGEST_NAME = 253
_BOOKMARK_EVERY_S = 0.5
RUN_LABEL = "rssi-mlops/run"


class RefusedRequest(Exception):  # noqa: N818 - an answer, not a defect
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(slots=True)
class ObjectStore:
    """The objects of one namespace, with their history."""

    namespace: str = "rssi"
    drops: tuple[str, ...] = ()
    """Fields of a Job's spec that this server is too old to know."""
    _objects: dict[tuple[str, str], Document] = field(default_factory=dict, init=False)
    _history: list[tuple[int, str, str, Document]] = field(default_factory=list, init=False)
    _version: int = field(default=100, init=False)
    _oldest: int = field(default=0, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)

    def create(self, kind: str, document: Document) -> Document:
        """Store an object that is new."""
        name = str(document.get("metadata", {}).get("name", ""))
        if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise RefusedRequest(422, "Invalid", f'metadata.name: Invalid value: "{name}"')
        with self._changed:
            if (kind, name) in self._objects:
                raise RefusedRequest(409, "AlreadyExists", f'{kind} "{name}" already exists')
            version, proper = _VERSIONS[kind]
            created = {"uid": str(uuid.uuid4()), "creationTimestamp": now_text()}
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
                raise RefusedRequest(
                    409, "Conflict", f"{kind} {name}: the object has been modified"
                )
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
                raise RefusedRequest(409, "Conflict", "the UID in the precondition does not match")
            del self._objects[kind, name]
            self._version += 1
            self._note(kind, "DELETED", found)
        if kind == "jobs":
            self.remove_pods(name)
        return found

    def remove_pods(self, job: str) -> None:
        """Delete a Job's pods, as the Job controller does at a deadline."""
        for (kind, name), found in list(self._objects.items()):
            if kind == "pods" and found["metadata"]["labels"].get(RUN_LABEL) == job:
                self.delete(kind, name, {})

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

    def watch(
        self, kind: str, query: Mapping[str, str], is_serving: Callable[[], bool]
    ) -> Iterator[Document]:
        """The changes of objects from a version on, until the time is up."""
        seen = int(query.get("resourceVersion") or 0)
        ends_at = time.monotonic() + float(query.get("timeoutSeconds") or 60)
        while is_serving() and time.monotonic() < ends_at:
            with self._changed:
                if seen < self._oldest:
                    yield {"type": "ERROR", "object": failure_status(410, "Expired", "too old")}
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

    def forget_history(self) -> None:
        """Make every version that is known so far too old to watch from, as compaction does."""
        with self._changed:
            self._version += 1
            self._oldest = self._version
            self._changed.notify_all()

    def _get(self, kind: str, name: str) -> Document:
        if (kind, name) not in self._objects:
            raise RefusedRequest(404, "NotFound", f'{kind} "{name}" not found')
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


def failure_status(status: int, reason: str, message: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": status,
    }


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
