"""The agent's settings, and the errors where they do not suffice."""

import pytest

from events.stack import Stack
from trainer.agent.errors import ConfigurationError
from trainer.agent.settings import AgentSettings

STACK = Stack(
    stage="test",
    data_bucket="stack-data",
    artifact_bucket="stack-artifacts",
    queue_url="https://queue",
    bus="stack-bus",
    ledger_table="t",
    event_log="l",
    endpoint_prefix="rssi",
    topic_arn="arn",
)


def test_the_stack_names_everything():
    resources = AgentSettings().resources(STACK)

    assert resources == ("stack-data", "stack-artifacts", "stack-bus", "https://queue", frozenset())


def test_the_stack_of_one_agent_of_several_names_its_sites():
    several = STACK.model_copy(update={"sites": ("lab", "hall")})

    assert AgentSettings().resources(several).sites == {"lab", "hall"}
    assert AgentSettings(sites=frozenset({"lab"})).resources(several).sites == {"lab"}


def test_a_name_that_is_given_on_its_own_wins():
    assert AgentSettings(data_bucket="mine").resources(STACK).data_bucket == "mine"


def test_without_a_queue_the_agent_can_still_work():
    settings = AgentSettings(data_bucket="d", artifact_bucket="a", bus="b")

    assert settings.resources(None).queue_url is None


@pytest.mark.parametrize("missing", ["data_bucket", "artifact_bucket", "bus"])
def test_a_name_that_nobody_gave_is_asked_for(missing):
    given = {"data_bucket": "d", "artifact_bucket": "a", "bus": "b"}
    del given[missing]

    with pytest.raises(ConfigurationError, match=f"RSSI_{missing.upper()}"):
        AgentSettings(**given).resources(None)


def test_sites_are_a_json_list(monkeypatch):
    monkeypatch.setenv("RSSI_SITES", '["lab", "library-1f"]')

    assert AgentSettings().sites == {"lab", "library-1f"}


@pytest.mark.parametrize("content", ['{"epochs": 0}', '{"magic": 1}', "no json"])
def test_hyperparameters_that_cannot_be_used_stop_the_agent_at_its_start(tmp_path, content):
    path = tmp_path / "hyperparameters.json"
    path.write_text(content)

    with pytest.raises(ConfigurationError, match="RSSI_HYPERPARAMETERS_FILE"):
        AgentSettings(hyperparameters_file=path).recipe()


def test_other_hyperparameters_are_another_recipe(tmp_path):
    path = tmp_path / "hyperparameters.json"
    path.write_text('{"epochs": 7}')

    assert AgentSettings(hyperparameters_file=path).recipe() != AgentSettings().recipe()
