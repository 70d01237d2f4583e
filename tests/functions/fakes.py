"""AWS at the border of the release logic: a bus that keeps what it is given, a SageMaker that
moves when told to. What it answers and refuses is held against the embedded cloud's SageMaker by
one contract test (test_sagemaker_contract.py)."""

import io
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from botocore.exceptions import ClientError, ReadTimeoutError

from events.manifests import Champion, Release
from events.triggers import Trigger
from functions.adapters.artifacts import StoredManifest
from functions.adapters.champions import StoredPointer
from functions.core.candidates.manifest_gate import StoredObject
from functions.core.candidates.site_policy import SitePolicy
from functions.core.deployments import (
    Deployment,
    SiteState,
    StateChange,
)
from functions.core.releases import ReleaseRecord


def refusal(message: str, operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


def model_error(status: int) -> ClientError:
    answer = {
        "Error": {"Code": "ModelError", "Message": f"Received error ({status}) from primary"},
        "OriginalStatusCode": status,
    }
    return ClientError(answer, "InvokeEndpoint")


class FakeBus:
    """Keeps what is put on it: ``said`` for the record, ``wire`` for delivery."""

    def __init__(self) -> None:
        self.wire: list[dict[str, object]] = []
        self.said: list[tuple[str, dict[str, object]]] = []
        self.fail_next = 0

    def put_events(self, *, Entries: list[dict[str, str]]) -> dict[str, object]:
        if self.fail_next:
            self.fail_next -= 1
            failed = [{"ErrorCode": "ThrottlingException"} for _ in Entries]
            return {"FailedEntryCount": len(Entries), "Entries": failed}
        for entry in Entries:
            detail = json.loads(entry["Detail"])
            self.said.append((entry["DetailType"], detail))
            self.raise_event(entry["DetailType"], detail)
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "x"} for _ in Entries]}

    def raise_event(self, detail_type: str, detail: dict[str, object]) -> None:
        self.wire.append(
            {
                "id": f"event-{len(self.said)}-{len(self.wire)}",
                "source": "test",
                "detail-type": detail_type,
                "account": "111122223333",
                "region": "eu-west-1",
                "time": "2026-11-01T00:00:00Z",
                "detail": detail,
            }
        )

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.said]

    def last(self, kind: str) -> dict[str, object]:
        return [detail for said, detail in self.said if said == kind][-1]


@dataclass
class FakeSageMaker:
    """One client for both planes. Changes of an endpoint take until `advance` is called."""

    class exceptions:  # noqa: N801  # where a boto3 client keeps its exceptions
        ClientError = ClientError

    bus: FakeBus
    bundles: dict[str, Release] = field(default_factory=dict)
    models: dict[str, dict[str, object]] = field(default_factory=dict)
    configs: dict[str, dict[str, object]] = field(default_factory=dict)
    endpoints: dict[str, dict[str, object]] = field(default_factory=dict)
    broken_models: set[str] = field(default_factory=set)
    """Releases whose containers never come up."""
    liars: set[str] = field(default_factory=set)
    """Releases that answer otherwise than recorded."""
    wrong_every: int = 1
    """Of the answers of a release that answers otherwise, one in so many is wrong."""
    hanging: set[str] = field(default_factory=set)
    """Releases that never answer."""
    slow: set[str] = field(default_factory=set)
    crashing: set[str] = field(default_factory=set)
    """Releases whose containers answer 500."""
    lenient: set[str] = field(default_factory=set)
    """Releases that answer malformed requests as if they were sound."""
    unreachable: str = ""
    """The error code with which the runtime refuses every request; empty if it does not."""
    refusing: dict[str, ClientError] = field(default_factory=dict)
    """The error of each operation that is refused."""
    capacity: bool = True
    """Whether there are instances for an update."""
    is_stuck: bool = False
    """Whether changes go on for ever."""
    updates: list[str] = field(default_factory=list)
    _requests: Iterator[int] = field(default_factory=itertools.count)

    def create_model(self, *, ModelName: str, **wanted: object) -> None:
        if ModelName in self.models:
            raise refusal(f"Cannot create already existing model {ModelName}.")
        self.models[ModelName] = wanted

    def describe_model(self, *, ModelName: str) -> dict[str, object]:
        if ModelName not in self.models:
            raise refusal(f'Could not find model "{ModelName}".')
        return {"ModelName": ModelName, **self.models[ModelName]}

    def create_endpoint_config(self, *, EndpointConfigName: str, **wanted: object) -> None:
        self._refuse("create_endpoint_config")
        model = wanted["ProductionVariants"][0]["ModelName"]
        if model not in self.models:
            raise refusal(f'Could not find model "{model}".')
        if EndpointConfigName in self.configs:
            raise refusal(
                f"Cannot create already existing endpoint configuration {EndpointConfigName}."
            )
        self.configs[EndpointConfigName] = wanted

    def describe_endpoint_config(self, *, EndpointConfigName: str) -> dict[str, object]:
        if EndpointConfigName not in self.configs:
            raise refusal(f'Could not find endpoint configuration "{EndpointConfigName}".')
        return {"EndpointConfigName": EndpointConfigName, **self.configs[EndpointConfigName]}

    def describe_endpoint(self, *, EndpointName: str) -> dict[str, object]:
        if EndpointName not in self.endpoints:
            raise refusal(f'Could not find endpoint "{EndpointName}".')
        return dict(self.endpoints[EndpointName])

    def create_endpoint(self, *, EndpointName: str, EndpointConfigName: str) -> None:
        if EndpointName in self.endpoints:
            raise refusal(f"Cannot create already existing endpoint {EndpointName}.")
        self.updates.append(EndpointConfigName)
        self.endpoints[EndpointName] = {
            "EndpointStatus": "Creating",
            "EndpointConfigName": EndpointConfigName,
        }

    def update_endpoint(
        self, *, EndpointName: str, EndpointConfigName: str, DeploymentConfig: object
    ) -> None:
        self._refuse("update_endpoint")
        endpoint = self.endpoints[EndpointName]
        if endpoint["EndpointConfigName"] not in self.configs:
            raise refusal(
                f'Could not find endpoint configuration "{endpoint["EndpointConfigName"]}".'
            )
        if endpoint["EndpointStatus"] not in ("InService", "OutOfService"):
            raise refusal(f'Cannot update in-progress endpoint "{EndpointName}".')
        self.updates.append(EndpointConfigName)
        endpoint["EndpointStatus"] = "Updating"
        endpoint["PendingDeploymentSummary"] = {"EndpointConfigName": EndpointConfigName}

    def delete_endpoint(self, *, EndpointName: str) -> None:
        if EndpointName not in self.endpoints:
            raise refusal(f'Could not find endpoint "{EndpointName}".')
        del self.endpoints[EndpointName]

    def invoke_endpoint(self, *, EndpointName: str, Body: bytes, **_: object) -> dict[str, object]:
        endpoint = self.endpoints.get(EndpointName)
        if endpoint is None:
            raise refusal(f"Endpoint {EndpointName} not found")
        if self.unreachable:
            raise ClientError(
                {"Error": {"Code": self.unreachable, "Message": "no"}}, "InvokeEndpoint"
            )
        release = self._release(str(endpoint["EndpointConfigName"]))
        answers = self._answers(release, Body)
        body = {"release": release.run_id, "digest": release.digest, "predictions": answers}
        return {"Body": io.BytesIO(json.dumps(body).encode())}

    def _answers(self, release: Release, body: bytes) -> list[dict[str, object]]:
        if release.run_id in self.hanging:
            raise ReadTimeoutError(endpoint_url="https://runtime")
        if release.run_id in self.crashing:
            raise model_error(500)
        if release.run_id in self.slow:
            time.sleep(0.02)
        recorded = {json.dumps(case.rssi): case.answer for case in release.smoke}
        try:
            rows = json.loads(body)["instances"]
            answers = [recorded[json.dumps(row)].model_dump(mode="json") for row in rows]
        except (ValueError, KeyError) as error:
            if release.run_id in self.lenient:
                return []
            raise model_error(400) from error
        if release.run_id in self.liars and next(self._requests) % self.wrong_every == 0:
            for answer in answers:
                answer["location"] = "Z99"
        return answers

    def _refuse(self, operation: str) -> None:
        if error := self.refusing.get(operation):
            raise error

    def served(self, endpoint: str) -> str:
        """The release that an endpoint serves."""
        return self._release(str(self.endpoints[endpoint]["EndpointConfigName"])).run_id

    def advance(self) -> bool:
        """Finish every change under way and raise its event; False if there was none."""
        moved = False
        if self.is_stuck:
            return False
        for name, endpoint in self.endpoints.items():
            if endpoint["EndpointStatus"] in ("Creating", "Updating"):
                self._finish(endpoint)
                moved = True
                detail = {
                    "EndpointName": name,
                    "EndpointStatus": "IN_SERVICE"
                    if endpoint["EndpointStatus"] == "InService"
                    else "FAILED",
                }
                self.bus.raise_event("SageMaker Endpoint State Change", detail)
        return moved

    def _finish(self, endpoint: dict[str, object]) -> None:
        pending = endpoint.pop("PendingDeploymentSummary", None)
        wanted = pending["EndpointConfigName"] if pending else endpoint["EndpointConfigName"]
        comes_up = self._release(str(wanted)).run_id not in self.broken_models
        if not self.capacity:
            endpoint["FailureReason"] = "InsufficientInstanceCapacity: no ml.t2.medium is free"
            endpoint["EndpointStatus"] = "InService" if pending else "Failed"
        elif comes_up:
            endpoint["EndpointConfigName"] = wanted
            endpoint["EndpointStatus"] = "InService"
            endpoint.pop("FailureReason", None)
        else:
            endpoint["FailureReason"] = "The container did not pass the ping health check."
            endpoint["EndpointStatus"] = "InService" if pending else "Failed"

    def _release(self, config: str) -> Release:
        model = self.configs[config]["ProductionVariants"][0]["ModelName"]
        return self.bundles[self.models[model]["PrimaryContainer"]["ModelDataUrl"]]


class MemoryLedger:
    """The ledger's twin in memory; held against the real one by test_ledger.py."""

    def __init__(self) -> None:
        self._states: dict[str, SiteState] = {}
        self._triggers: dict[tuple[str, Trigger], Deployment] = {}
        self._releases: dict[tuple[str, str], ReleaseRecord] = {}

    def state(self, site: str) -> SiteState:
        return self._states.get(site, SiteState(site=site))

    def change(self, site: str, transition: StateChange, now: datetime) -> SiteState:
        before = self.state(site)
        change = transition(before, now)
        if change.state == before or (site, change.trigger) in self._triggers:
            return before
        if change.trigger is not None:
            self._triggers[site, change.trigger] = change.deployments[0]
        version = before.version + 1
        self._states[site] = change.state.model_copy(update={"version": version})
        return self._states[site]

    def release(self, site: str, run_id: str) -> ReleaseRecord | None:
        return self._releases.get((site, run_id))

    def remember(self, record: ReleaseRecord) -> None:
        self._releases[record.site, record.run_id] = record

    def decide(self, record: ReleaseRecord) -> bool:
        known = self.release(record.site, record.run_id)
        if known is not None and known.decision is not None:
            return False
        self.remember(record)
        return True

    def releases(self, site: str) -> list[ReleaseRecord]:
        records = [record for record in self._releases.values() if record.site == site]
        return sorted(records, key=lambda record: record.arrived_at)

    def sites(self) -> list[str]:
        return sorted(self._states)

    def opened_by(self, site: str, trigger: Trigger) -> Deployment | None:
        return self._triggers.get((site, trigger))


class MemoryPolicies:
    """The sites' policies in memory."""

    def __init__(self) -> None:
        self.policy = SitePolicy()

    def of(self, site: str) -> SitePolicy:
        return self.policy


class MemoryChampions:
    """The pointers' twin in memory; held against the real ones by test_champion_pointer.py."""

    def __init__(self) -> None:
        self._stored: dict[str, StoredPointer] = {}

    def read(self, site: str) -> StoredPointer:
        return self._stored.get(site, StoredPointer(None, None))

    def write(self, champion: Champion, replacing: StoredPointer) -> bool:
        if self.read(champion.site).etag != replacing.etag:
            return False
        self._stored[champion.site] = StoredPointer(champion, f"{int(replacing.etag or 0) + 1}")
        return True


class MemoryArtifacts:
    """The artifact bucket's twin in memory: manifests, and models that are what they should be."""

    def __init__(self) -> None:
        self.releases: dict[str, Release] = {}
        self.redeploy: dict[str, str | None] = {}
        self._versions: dict[str, int] = {}

    def put(self, release: Release, redeploy: str | None = None) -> str:
        """Put a manifest, or another version of it; returns the version."""
        self.redeploy[release.run_id] = redeploy
        self.releases[release.run_id] = release
        self._versions[release.run_id] = self._versions.get(release.run_id, 0) + 1
        return self._version(release.run_id)

    def manifest(self, run_id: str) -> StoredManifest | None:
        found = self.releases.get(run_id)
        body = found.model_dump_json().encode() if found else b""
        if found is None:
            return None
        return StoredManifest(body, self._version(run_id), self.redeploy[run_id])

    def release(self, run_id: str) -> Release:
        return self.releases[run_id]

    def available(self, run_id: str) -> Release | str:
        found = self.releases.get(run_id)
        return found or f"the manifest of release {run_id} is no longer in the bucket"

    def stored(self, key: str) -> StoredObject | None:
        models = {release.model.key: release.model for release in self.releases.values()}
        return StoredObject(models[key].size, models[key].sha256) if key in models else None

    def sites(self) -> list[str]:
        return sorted({release.site for release in self.releases.values()})

    def runs(self, site: str) -> list[str]:
        return [run for run, release in self.releases.items() if release.site == site]

    def _version(self, run_id: str) -> str:
        return f"v{self._versions[run_id]}-{run_id}"
