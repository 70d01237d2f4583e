"""Figures of the on-prem agent: reaction time, duration of a round, memory.

The agent is the real one. AWS is moto in another process or, for a thousand sites, a read-only fake
of S3; Kubernetes is the fake API server. Measures the agent and HTTP on one machine, without
a real cluster or the distance to AWS.
"""

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import structlog
from botocore.session import Session
from rich.console import Console
from rich.table import Table

from aws.event_publisher import EventPublisher
from aws.s3 import Bucket
from events import names
from ops.dev.fakes.kubernetes_server import FakeApiServer
from ops.dev.fakes.memory_runner import MemoryRunner
from ops.errors import OpsError
from trainer.agent.adapters.artifact_store import ArtifactStore
from trainer.agent.adapters.run_event_publisher import RunEventPublisher
from trainer.agent.adapters.survey_store import SurveyStore
from trainer.agent.controller import Controller
from trainer.agent.health import HealthState
from trainer.agent.metrics import AgentMetrics
from trainer.agent.settings import AgentSettings
from trainer.agent.work_queue import WorkQueue

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

DROPS = 15
SITES = 1000
QUIET_S = 0.5
_SOON_S = 60.0
_IMAGE = f"registry.example/rssi-trainer@sha256:{'0' * 64}"


@dataclass(frozen=True)
class AgentFigures:
    """What was measured, in seconds and megabytes (10^6 bytes)."""

    to_job_s: tuple[float, ...]
    """From an event in the queue to the Job in the cluster, after the quiet period."""
    round_s: float
    """A round over all sites with nothing to do."""
    first_round_s: float
    """The same by an agent that has just started, and has to look up every release."""
    first_listings_per_site: float
    listings_per_site: float
    """S3 listings of a site's folders in such a round."""
    memory_mb: float
    """The agent's resident set at its highest, with the Kubernetes runner."""


def measure_agent() -> AgentFigures:
    """Measure everything; takes about a minute.

    Raises:
        OpsError: something did not happen within a minute.
    """
    with tempfile.TemporaryDirectory() as folder, _fake_aws() as address:
        environment = _environment(address)
        aws = _BenchClients(environment)
        to_job, memory = _drops(Path(folder), environment, aws)
        first, later = _rounds(environment)
    return AgentFigures(
        to_job_s=tuple(to_job),
        round_s=later.seconds,
        first_round_s=first.seconds,
        first_listings_per_site=first.listings / SITES,
        listings_per_site=later.listings / SITES,
        memory_mb=memory,
    )


def print_agent(console: Console) -> None:
    """Measure the agent and print the figures beside their limits."""
    figures = measure_agent()
    table = Table("what", "measured", "at most", title="The agent", box=None)
    median, slowest = statistics.median(figures.to_job_s), max(figures.to_job_s)
    table.add_row("event to Job, after the quiet period, median", f"{median:.2f} s", "0.25 s")
    table.add_row(f"the slowest of {len(figures.to_job_s)}", f"{slowest:.2f} s", "")
    table.add_row(f"a round over {SITES} sites, nothing to do", f"{figures.round_s:.1f} s", "10 s")
    table.add_row("the first round after a start", f"{figures.first_round_s:.1f} s", "10 s")
    table.add_row("listings a site and round", f"{figures.listings_per_site:.2f}", "1")
    table.add_row("in the first round", f"{figures.first_listings_per_site:.2f}", "1")
    table.add_row("memory", f"{figures.memory_mb:.0f} MB", "120 MB")
    console.print(table)


def _drops(
    folder: Path, environment: dict[str, str], aws: "_BenchClients"
) -> tuple[list[float], float]:
    """Run an agent as a process, and time each event from its queue to a Job."""
    server, created = FakeApiServer(), dict[str, float]()

    def record(job: str) -> None:
        created[names.site_of_run(job)] = time.monotonic()

    server.on_job = record
    server.start()
    s3, sqs = aws.client("s3"), aws.client("sqs")
    queue = str(sqs.create_queue(QueueName="bench")["QueueUrl"])
    aws.client("events").create_event_bus(Name="bench")
    data, _ = _bucket(s3, "bench-data"), _bucket(s3, "bench-artifacts")
    times = []
    with _agent(folder, {**environment, "RSSI_QUEUE_URL": queue}, server) as agent:
        for number in range(DROPS):
            site = f"site-{number}"
            key = f"{names.surveys_prefix(site)}a.csv"
            data.put(key, b"rows", "text/csv")
            begun = time.monotonic()
            sqs.send_message(QueueUrl=queue, MessageBody=_event(data.name, key))
            _wait_until(lambda site=site: site in created)  # type: ignore[misc]
            times.append(created[site] - begun - QUIET_S)
        memory = _peak_memory_mb(agent.pid)
    server.stop()
    # The first one finds connections and DNS cold.
    return times[1:], memory


class _Round(NamedTuple):
    seconds: float
    listings: int


def _rounds(environment: dict[str, str]) -> tuple[_Round, _Round]:
    """Time a round over many sites without news: the first of an agent, and a later one."""
    store = _ReadOnlyStore()
    aws = _BenchClients({**environment, "AWS_ENDPOINT_URL": store.url})
    s3 = aws.client("s3")
    agent = _agent_of(Bucket(s3, "data"), Bucket(s3, "artifacts"), aws)
    first = _Round(_seconds(lambda: agent.step(0.0)), store.listings)
    later_at = datetime.now(UTC) + agent.resync * 2
    agent.clock = lambda: later_at
    later = _Round(_seconds(lambda: agent.step(0.0)), store.listings - first.listings)
    store.close()
    return first, later


def _agent_of(data: Bucket, artifacts: Bucket, aws: "_BenchClients") -> Controller:
    log = structlog.wrap_logger(None, processors=[_drop_line])
    settings = AgentSettings()
    return Controller(
        surveys=SurveyStore(data, log),
        artifacts=ArtifactStore(artifacts),
        bus=RunEventPublisher(EventPublisher(aws.client("events"), "bench", "bench")),
        queue=None,
        runner=MemoryRunner(lambda: datetime.now(UTC)),
        recipe=settings.recipe(),
        policy=settings.policy,
        resync=timedelta(minutes=5),
        only_sites=(),
        work_queue=WorkQueue(),
        clock=lambda: datetime.now(UTC),
        log=log,
        metrics=AgentMetrics(),
        health=HealthState(),
    )


@contextmanager
def _agent(
    folder: Path, environment: dict[str, str], server: FakeApiServer
) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "template.yaml").write_text(f"image: {_IMAGE}")
    (folder / "kubeconfig").write_text(json.dumps(_kubeconfig(server)))
    with (folder / "agent.log").open("wb") as log:
        agent = subprocess.Popen(
            [sys.executable, "-m", "trainer.agent"],
            env={
                "PATH": os.environ["PATH"],
                **environment,
                "KUBECONFIG": str(folder / "kubeconfig"),
                "RSSI_RUNNER": "kubernetes",
                "RSSI_POD_TEMPLATE": str(folder / "template.yaml"),
                "RSSI_DATA_BUCKET": "bench-data",
                "RSSI_ARTIFACT_BUCKET": "bench-artifacts",
                "RSSI_BUS": "bench",
                "RSSI_QUIET_PERIOD_S": str(QUIET_S),
                "RSSI_MAX_PARALLEL_RUNS": "100",
            },
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until(lambda: any(request.method == "WATCH" for request in server.requests))
        yield agent
    finally:
        agent.terminate()
        agent.wait(30)


class _ReadOnlyStore:
    """A read-only fake of S3 with many sites, each with one survey and its release.

    At this size, moto's listings, which scan every key, would dominate the measurement.
    """

    def __init__(self) -> None:
        self.listings = 0
        store = self

        class ListingHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                self._send(
                    store.answer(dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)))
                )

            def do_HEAD(self) -> None:
                self._send("")

            def log_message(self, *_: object) -> None:
                pass

            def _send(self, body: str) -> None:
                content = body.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), ListingHandler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, query: dict[str, str]) -> str:
        """S3's XML listing of the sites, of one site's versions, or of an empty folder."""
        self.listings += not query.get("delimiter")
        if "versions" in query:
            return f"<ListVersionsResult>{_version(query['prefix'])}</ListVersionsResult>"
        found = ""
        if query.get("delimiter"):
            folders = (f"<Prefix>sites/site-{n}/</Prefix>" for n in range(SITES))
            found = "".join(f"<CommonPrefixes>{folder}</CommonPrefixes>" for folder in folders)
        return f"<ListBucketResult>{found}</ListBucketResult>"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _version(prefix: str) -> str:
    return (
        f"<Version><Key>{prefix}surveys/a.csv</Key><VersionId>v1</VersionId>"
        "<IsLatest>true</IsLatest><LastModified>2026-11-01T12:00:00.000Z</LastModified>"
        "<ETag>&quot;e&quot;</ETag><Size>4</Size></Version>"
    )


@contextmanager
def _fake_aws() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until(lambda: _listens(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SOON_S
    while not happened():
        if time.monotonic() > deadline:
            raise OpsError(f"The agent's measurement failed: nothing happened for {_SOON_S:.0f} s.")
        time.sleep(0.002)


def _environment(address: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class _BenchClients:
    """Clients of the AWS that an environment points at."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._session = Session()

    def client(self, service: str) -> Any:
        return self._session.create_client(
            service,
            endpoint_url=self._environment["AWS_ENDPOINT_URL"],
            region_name=self._environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=self._environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self._environment["AWS_SECRET_ACCESS_KEY"],
        )


def _bucket(s3: "S3Client", name: str) -> Bucket:
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return Bucket(s3, name)


def _event(bucket: str, key: str) -> str:
    return json.dumps(
        {
            "id": "bench",
            "source": "aws.s3",
            "detail-type": "Object Created",
            "account": "111122223333",
            "region": "us-east-1",
            "time": datetime.now(UTC).isoformat(),
            "detail": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
    )


def _kubeconfig(server: FakeApiServer) -> dict[str, object]:
    context = {"cluster": "c", "user": "u", "namespace": server.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": "any"}}],
        "contexts": [{"name": "x", "context": context}],
        "current-context": "x",
    }


def _peak_memory_mb(pid: int) -> float:
    """The highest resident set of a process so far (proc(5), status, VmHWM in kB of 1024)."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise OpsError(f"/proc/{pid}/status does not state the peak memory.")
    return int(found[1]) * 1024 / 1e6


def _seconds(act: Callable[[], None]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def _drop_line(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


if __name__ == "__main__":
    print_agent(Console())
