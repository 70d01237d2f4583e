"""AWS that throttles, is away, or no longer knows us: the agent waits, says so and catches up."""

import json
import socket
import stat
import sys
from datetime import UTC, datetime, timedelta

import pytest
from botocore.stub import Stubber

from aws.clients import Clients, DataStore
from aws.s3 import Bucket, StoreUnavailableError
from tests.agent.crashing_agent import Agents
from tests.agent.runner_contract import eventually
from trainer.agent.adapters.survey_queue import SurveyQueue
from trainer.agent.errors import AwsUnavailableError

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def no_credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return tmp_path


class TestAnAdapter:
    @pytest.mark.parametrize(
        ("code", "status"),
        [
            ("SlowDown", 503),
            ("ExpiredToken", 400),
            ("InvalidAccessKeyId", 403),
            ("AccessDenied", 403),
            ("InternalError", 500),
        ],
    )
    def test_says_that_a_bucket_gave_no_useful_answer(self, aws, code, status):
        client = aws.client("s3")
        with Stubber(client) as stub:
            stub.add_client_error("head_object", code, http_status_code=status)
            # Asked where access was denied, for that may mean missing.
            stub.add_client_error("list_objects_v2", code, http_status_code=status)

            with pytest.raises(StoreUnavailableError, match=code):
                Bucket(client, "any").exists("k")

    @pytest.mark.usefixtures("no_credentials")
    def test_without_credentials_is_unavailable_and_not_a_crash(self):
        clients = Clients()

        with pytest.raises(StoreUnavailableError, match="credentials"):
            Bucket(clients.client("s3"), "any").exists("k")
        with pytest.raises(AwsUnavailableError, match="credentials"):
            SurveyQueue(clients.client("sqs"), NOWHERE).receive()

    @pytest.mark.usefixtures("no_credentials")
    def test_that_nobody_answers_is_unavailable(self, monkeypatch):
        monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")

        with pytest.raises(StoreUnavailableError, match="gave no answer"):
            Bucket(Clients().client("s3"), "any").exists("k")


class TestCredentials:
    @pytest.mark.usefixtures("no_credentials")
    def test_that_nobody_gave_are_told_apart(self):
        assert not Clients().credentials().found

    @pytest.mark.usefixtures("no_credentials")
    def test_that_are_written_down_are_known_to_be_static(self, monkeypatch):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

        found = Clients().credentials()

        assert (found.found, found.static, found.expires_at) == (True, True, None)

    def test_of_a_signing_helper_are_asked_for_once_for_all_clients_and_their_end_is_known(
        self, no_credentials
    ):
        ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
        handed_out = {
            "Version": 1,
            "AccessKeyId": "ASIAEXAMPLE",
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": ends.isoformat(),
        }
        helper, calls = no_credentials / "helper", no_credentials / "calls"
        helper.write_text(
            f"#!{sys.executable}\n"
            f"open({str(calls)!r}, 'a').write('x')\n"
            f"print({json.dumps(handed_out)!r})\n"
        )
        helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
        (no_credentials / "config").write_text(f"[default]\ncredential_process = {helper}\n")
        clients = Clients()

        for service in ("s3", "sqs", "events"):
            clients.client(service)
        found = clients.credentials()

        assert (found.found, found.static, found.expires_at) == (True, False, ends)
        assert calls.read_text() == "x"


def test_a_store_of_ones_own_is_asked_by_path_with_its_profiles_keys(no_credentials):
    (no_credentials / "config").write_text(
        "[profile building]\naws_access_key_id = own\naws_secret_access_key = own\n"
    )
    store = DataStore(endpoint_url="https://store.building.example:9000", profile="building")

    client = Clients().data_client(store)

    url = client.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "k"})
    assert url.startswith("https://store.building.example:9000/data/k?")
    assert "AccessKeyId=own" in url
    assert not DataStore().is_separate


@pytest.fixture
def agents(tmp_path):
    started = Agents(tmp_path)
    yield started
    started.close()


def said(agents: Agents) -> str:
    return agents.log.read_text() if agents.log.exists() else ""


def test_an_agent_that_starts_in_a_building_that_is_offline_waits_until_it_is_not(
    aws, agents, tmp_path
):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    pid = agents.start(
        {
            **aws.environment,
            "AWS_ENDPOINT_URL": address,
            "AWS_MAX_ATTEMPTS": "1",
            "RSSI_STACK_PARAMETER": "/rssi-mlops/dev/stack",
            "RSSI_WORK_DIR": str(tmp_path / "runs"),
            "RSSI_HEALTH_PORT": "0",
        }
    )

    eventually(lambda: "the agent can't begin yet, trying again" in said(agents))

    assert agents.stop(pid) == 0, "it can be told to stop while it waits"


def test_an_agent_whose_stores_go_away_for_a_while_goes_on_when_they_are_back(
    aws, agents, tmp_path
):
    data, artifacts = aws.bucket("data"), aws.bucket("artifacts")
    missing = f"{data.name}-to-come"
    aws.client("events").create_event_bus(Name=f"bus-{data.name}")
    pid = agents.start(
        {
            **aws.environment,
            "AWS_MAX_ATTEMPTS": "1",
            "RSSI_DATA_BUCKET": missing,
            "RSSI_ARTIFACT_BUCKET": artifacts.name,
            "RSSI_BUS": f"bus-{data.name}",
            "RSSI_WORK_DIR": str(tmp_path / "runs"),
            "RSSI_QUIET_PERIOD_S": "3600",
        }
    )
    eventually(lambda: "sites can't be listed, trying again" in said(agents))

    place = {"LocationConstraint": "eu-west-1"}
    client = aws.client("s3")
    client.create_bucket(Bucket=missing, CreateBucketConfiguration=place)
    Bucket(client, missing).put("sites/lab/surveys/a.csv", b"rows", "text/csv")

    eventually(lambda: "waiting until uploads have ended" in said(agents))
    assert agents.stop(pid) == 0
