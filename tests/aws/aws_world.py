"""A fake AWS on loopback for the tests that need a wire, and buckets in it."""

import io
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from botocore.session import Session

from aws.s3 import Bucket

_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Aws:
    """A fake AWS: its address, and clients that use it."""

    url: str
    session: Session
    """Shared, since a new one reads all descriptions of the services again."""
    heard: list[tuple[str, str, dict[str, Any]]]
    """Every event that was put: its bus, its kind and its detail."""
    bodies: list[bytes]
    """What came with every request."""

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str):
        return self.session.create_client(
            service,
            endpoint_url=self.url,
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def bucket(self, kind: str, *, versioned: bool = True) -> Bucket:
        """A new bucket of its own."""
        client, name = self.client("s3"), f"{kind}-{next(_NUMBERS)}"
        place = {"LocationConstraint": "eu-west-1"}
        client.create_bucket(Bucket=name, CreateBucketConfiguration=place)
        if versioned:
            enabled = {"Status": "Enabled"}
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration=enabled)
        return Bucket(client, name)


@contextmanager
def fake_aws(before: Callable[[Any], Any] = lambda application: application) -> Iterator[Aws]:
    """Moto behind a threaded server on loopback, and behind what ``before`` puts before it."""
    from moto.server import DomainDispatcherApplication, create_backend_app  # noqa: PLC0415
    from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

    class Quiet(WSGIRequestHandler):
        def log(self, *args: object) -> None:
            pass

    heard: list[tuple[str, str, dict[str, Any]]] = []
    bodies: list[bytes] = []
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        bodies.append(body)
        if environ.get("HTTP_X_AMZ_TARGET") == "AWSEvents.PutEvents":
            for entry in json.loads(body)["Entries"]:
                with suppress(ValueError):  # what is no JSON is refused, and heard by nobody
                    detail = json.loads(entry["Detail"])
                    heard.append((entry["EventBusName"], entry["DetailType"], detail))
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, before(application), threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Aws(f"http://127.0.0.1:{server.server_port}", Session(), heard, bodies)
    server.shutdown()
    thread.join()
    server.server_close()
