"""Data that stays in the building: surveys in a store of one's own, only the release in the cloud.

Two separate stores in two processes, the building's with TLS by an authority of its own, without
versions and without notifications. Whatever is sent to the cloud is recorded, byte by byte.
"""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aws.s3 import Bucket
from events import names
from events.manifests import Release
from tests.agent.runner_contract import eventually
from tests.agent.test_job_process import rows
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import read_survey

SITE = "vault"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine that only those accept who know it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store.building.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certified, private = folder / "store.crt", folder / "store.key"
    certified.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certified, private


def answers(port: int, ca: Path) -> bool:
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=1) as plain,
            ssl.create_default_context(cafile=str(ca)).wrap_socket(
                plain, server_hostname="127.0.0.1"
            ),
        ):
            return True
    except OSError:
        return False


@pytest.fixture
def store(tmp_path, aws):
    """The building's store: its bucket, its address, and its authority's certificate."""
    certified, private = write_certificate(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)),
            *("-c", str(certified), "-k", str(private)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: answers(port, certified))
        url = f"https://127.0.0.1:{port}"
        client = aws.session.create_client(
            "s3",
            endpoint_url=url,
            verify=str(certified),
            region_name="eu-west-1",
            aws_access_key_id="building",
            aws_secret_access_key="building",
            config=Config(s3={"addressing_style": "path"}),
        )
        place = {"LocationConstraint": "eu-west-1"}
        client.create_bucket(Bucket="building", CreateBucketConfiguration=place)
        yield Bucket(client, "building"), url, certified
        client.close()
    finally:
        process.kill()
        process.wait()


def test_no_row_of_a_survey_ever_reaches_the_cloud(aws, store, tmp_path):
    data, url, certificate = store
    survey = rows()
    data.put(f"{names.surveys_prefix(SITE)}secret.csv", survey, "text/csv")
    artifacts = aws.bucket("artifacts")
    aws.client("events").create_event_bus(Name=f"bus-{artifacts.name}")
    (tmp_path / "aws").write_text(
        "[profile building]\naws_access_key_id = building\naws_secret_access_key = building\n"
        "region = eu-west-1\n"
    )
    aws.bodies.clear()
    log = (tmp_path / "agent.log").open("w+")
    agent = subprocess.Popen(
        [sys.executable, "-m", "trainer.agent"],
        env={
            "PATH": os.environ["PATH"],
            **aws.environment,
            "AWS_CONFIG_FILE": str(tmp_path / "aws"),
            "RSSI_DATA_BUCKET": "building",
            "RSSI_DATA_ENDPOINT_URL": url,
            "RSSI_DATA_CA_BUNDLE": str(certificate),
            "RSSI_DATA_PROFILE": "building",
            "RSSI_ARTIFACT_BUCKET": artifacts.name,
            "RSSI_BUS": f"bus-{artifacts.name}",
            "RSSI_WORK_DIR": str(tmp_path / "runs"),
            "RSSI_QUIET_PERIOD_S": "0",
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )

    def reported() -> list[str]:
        return [kind for bus, kind, _ in aws.heard if bus == f"bus-{artifacts.name}"]

    try:
        eventually(lambda: "TrainingSucceeded" in reported() or agent.poll() is not None, 60)
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(20)
        log.close()
    assert reported() == ["TrainingStarted", "TrainingSucceeded"], (
        tmp_path / "agent.log"
    ).read_text()

    (key,) = [found.key for found in artifacts.objects("sites/") if "release.json" in found.key]
    release = Release.model_validate_json(artifacts.get(key).body)
    assert release.snapshot.surveys[0].key.endswith("secret.csv")
    sent = b"\n".join(aws.bodies)
    assert json.dumps(release.run_id).encode() in sent, "what is sent is recorded"
    for line in survey.splitlines()[1:]:
        assert line not in sent
    assert not {frozenset(case.rssi.items()) for case in release.smoke} & fingerprints(survey)


def fingerprints(survey: bytes) -> set[frozenset[tuple[str, float]]]:
    read = read_survey(survey, SiteDescription())
    return {
        frozenset(
            (beacon, float(dbm))
            for beacon, dbm in zip(read.beacons, row, strict=True)
            if not np.isnan(dbm)
        )
        for row in read.rssi
        if not np.isnan(row).all()
    }
