"""StageSettings: where they come from, what is refused, and that the refusal names the setting."""

import json
from pathlib import Path

import pytest

from cdk.errors import SettingsError
from cdk.settings import Removal, read_context, settings_from_context

COMMON = {
    "serving_image": "{account}.dkr.ecr.{region}.amazonaws.com/rssi-mlops/serving:0.1.0",
    "instance_type": "ml.m5.large",
}


def test_the_stage_is_dev_unless_another_is_asked_for() -> None:
    assert settings_from_context({"rssi-mlops": COMMON}).stage == "dev"
    assert settings_from_context({"rssi-mlops": COMMON, "stage": "prod"}).stage == "prod"


def test_names_carry_the_stage_except_those_of_the_default_stage() -> None:
    dev = settings_from_context({"rssi-mlops": COMMON})
    prod = settings_from_context({"rssi-mlops": COMMON, "stage": "prod"})
    assert (dev.bus_name, dev.endpoint_prefix) == ("rssi-mlops", "rssi-dev")
    assert (prod.bus_name, prod.endpoint_prefix) == ("rssi-mlops-prod", "rssi-prod")


def test_a_single_value_wins_over_the_stage_and_the_stage_over_what_is_common() -> None:
    context: dict[str, object] = {
        "rssi-mlops": {
            **COMMON,
            "instance_count": 1,
            "stages": {"prod": {"instance_count": 2, "smoke_latency_ms": 300}},
        },
        "stage": "prod",
    }
    assert settings_from_context(context).instance_count == 2
    # The command line has only text.
    settings = settings_from_context({**context, "rssi-mlops:instance_count": "5"})
    assert settings.instance_count == 5
    assert settings.smoke_latency_ms == 300


def test_data_is_retained_unless_a_stage_says_otherwise() -> None:
    assert settings_from_context({"rssi-mlops": COMMON}).removal is Removal.RETAIN


def test_the_repository_s_own_settings_suit_dev_and_prod() -> None:
    context = read_context()
    dev = settings_from_context({**context, "stage": "dev"})
    prod = settings_from_context({**context, "stage": "prod"})
    assert dev.removal is Removal.DESTROY
    assert prod.removal is Removal.RETAIN


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("serving_image", "rssi-mlops/serving"),
        ("serving_image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/serving"),
        ("serving_image", "1234.dkr.ecr.eu-west-1.amazonaws.com/serving:1"),
        ("serving_image", "{user}.dkr.ecr.{region}.amazonaws.com/serving:1"),
        ("instance_type", "m5.large"),
        ("instance_count", 0),
        ("smoke_latency_ms", 0),
        ("smoke_latency_ms", 60_001),
        ("termination_wait_s", 3601),
        ("log_retention_days", 15),
        ("removal", "keep"),
        ("notification_emails", ["on-call"]),
        ("colour", "red"),
    ],
)
def test_a_value_that_can_not_be_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"\b{setting}\b"):
        settings_from_context({"rssi-mlops": {**COMMON, setting: value}})


@pytest.mark.parametrize("stage", ["", "Prod", "a-", "a-b", "seventeen-letters", "1st", "a\n"])
def test_a_stage_that_can_not_be_part_of_a_name_is_refused(stage: str) -> None:
    with pytest.raises(SettingsError, match="stage"):
        settings_from_context({"rssi-mlops": COMMON, "stage": stage})


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="instance_type"):
        settings_from_context({"rssi-mlops": {"serving_image": COMMON["serving_image"]}})


def test_a_missing_context_is_named() -> None:
    with pytest.raises(SettingsError, match="rssi-mlops"):
        settings_from_context({})


def test_the_command_line_s_context_wins_over_the_file_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cdk.json"
    file.write_text(json.dumps({"context": {"stage": "dev", "other": 1}}))
    monkeypatch.setenv("CDK_CONTEXT_JSON", '{"stage": "prod"}')
    assert read_context(file) == {"stage": "prod", "other": 1}


def test_a_context_that_is_no_json_is_refused_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CDK_CONTEXT_JSON", raising=False)
    file = tmp_path / "cdk.json"
    file.write_text('{"context": ')
    with pytest.raises(SettingsError, match=r"cdk\.json"):
        read_context(file)
    file.write_text('{"context": {}}')
    monkeypatch.setenv("CDK_CONTEXT_JSON", "[]")
    with pytest.raises(SettingsError, match="CDK_CONTEXT_JSON"):
        read_context(file)


def test_a_site_demands_what_the_stage_does_unless_it_says_otherwise() -> None:
    settings = settings_from_context(
        {
            "rssi-mlops": {
                **COMMON,
                "site_policy": {"margin_m": 0.3},
                "sites": {"library-1f": {"gate": "approve"}},
            }
        }
    )
    policy = settings.policy_of("library-1f")
    assert (policy.gate, policy.margin_m) == ("approve", 0.3)


@pytest.mark.parametrize(
    ("demands", "named"),
    [
        ({"gate": "maybe"}, "sites.library-1f.gate"),
        ({"margin": 1}, "sites.library-1f.margin"),
        ({"margin_m": 0}, "sites.library-1f.margin_m"),
        ({"min_coverage": 2}, "sites.library-1f.min_coverage"),
    ],
)
def test_a_demand_that_makes_no_sense_is_refused_by_name(demands: object, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        settings_from_context({"rssi-mlops": {**COMMON, "sites": {"library-1f": demands}}})
