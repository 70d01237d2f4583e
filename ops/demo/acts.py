"""The six acts. Each does one thing that happens in production and checks the result."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime

from pydantic import JsonValue

from events.names import endpoint_name
from functions.core.deployments import Deployment, DeploymentState
from ops.account.event_log import LoggedEvent
from ops.assembly import ROOT
from ops.demo.faulty_release import put_release_like
from ops.demo.probe import Probe
from ops.demo.survey import broken_survey
from ops.demo.world import SITE, DemoWorld, expect, now, stopwatch
from ops.local.faults.active import FaultRequest
from ops.local.faults.client import FaultClient
from ops.local.faults.kinds import FaultType
from ops.terminal import describe_prediction

Evidence = dict[str, JsonValue]
ActFunction = Callable[[DemoWorld], Evidence]

SETTLE_S = 1.0
"""How long nothing else may happen after a quarantine: several times the quiet period."""
HANGING_S = 40.0
"""Two smoke tests with their budgets, and two rollouts, on a busy machine."""
ENDS = frozenset({"TrainingFailed", "ReleaseRejected", "DeploymentFailed", "RolledBack"})


def first_survey(world: DemoWorld) -> Evidence:
    """A survey is dropped; its release is trained and goes live."""
    evidence = _drop_until_live(world, "first.csv", world.survey.first)
    prediction = world.ask()
    expect("the release that answers", evidence["release"], prediction.release)
    world.console.print(
        f"  a prediction: {describe_prediction(prediction.predictions[0])}", highlight=False
    )
    return evidence | {"prediction": prediction.predictions[0].model_dump(mode="json")}


def second_survey(world: DemoWorld) -> Evidence:
    """A second survey is dropped; the release of both goes live without a failed request."""
    before = world.live_release()
    stack_client = world.new_stack_client()
    with Probe(lambda: world.ask(stack_client)) as probe:
        evidence = _drop_until_live(world, "second.csv", world.survey.second)
        probe.run_for(20)
    expect("failed probe requests", [], list(probe.failures[:3]))
    expect("releases that answered the probe", [before, evidence["release"]], list(probe.releases))
    expect("surveys that the release learned from", 2, len(world.releases[-1].snapshot.surveys))
    world.console.print(
        f"  [green]{probe.requests} probe requests, 0 failed[/]; the answering release changed once"
    )
    return evidence | {
        "probe_requests": probe.requests,
        "probe_failures": len(probe.failures),
        "probe_releases": list(probe.releases),
    }


def broken_csv(world: DemoWorld) -> Evidence:
    """A broken CSV is dropped; it is quarantined with a reason, and nothing else changes."""
    since, live = now(), world.live_release()
    survey = world.drop("broken ü.csv", broken_survey(world.survey.second))
    event = world.wait_for(
        lambda event: _is_about(event, "SurveyQuarantined", survey.id), "the quarantine", since
    )
    time.sleep(SETTLE_S)
    expect("the live release", live, world.live_release())
    expect("the release that answers", live, world.ask().release)
    new = _release_events(world, since)
    expect("events about releases after a broken survey", [], list(new))
    reason = event.text("reason")
    expect("the quarantined survey", survey.key, world.stack_client.quarantined(SITE)[0].survey.key)
    return {"survey": survey.key, "quarantine_reason": reason, "live": live}


def wrong_answers(world: DemoWorld) -> Evidence:
    """A release does not give its recorded answers; the endpoint is rolled back automatically."""
    since, good = now(), world.releases[-1]
    s3 = world.stack_client.aws.s3
    bucket = world.stack_client.stack.artifact_bucket
    corrupt = put_release_like(s3, bucket, good, "corrupt", shift_names=True)
    world.releases.append(corrupt)
    rollback = world.wait_for(lambda event: event.detail_type in ENDS, "the rollback", since)
    expect("how it ended", "RolledBack", rollback.detail_type)
    failed, returned = world.stack_client.ledger.deployments(SITE)[-2:]
    expect("the corrupt deployment", "failed", failed.state.value)
    expect("the release that was left", corrupt.run_id, rollback.text("from_release"))
    expect("the rollback was automatic", expected=True, seen=returned.automatic)
    _expect_live_and_tested(world, returned, good.run_id)
    return {
        "release": corrupt.run_id,
        "smoke_test": failed.reason,
        "deployments": [_summary_of(failed), _summary_of(returned)],
        "live": good.run_id,
    }


def hanging_container(world: DemoWorld) -> Evidence:
    """The container of a release takes requests and never answers; it goes back by itself."""
    since, live = now(), str(world.live_release())
    stack_client = world.stack_client
    good = stack_client.artifacts.release(live)
    endpoint = endpoint_name(stack_client.stack.endpoint_prefix, SITE)
    faults = FaultClient(world.stack.address)
    faults.set(FaultRequest(kind=FaultType.HANG, endpoint_name=endpoint))
    bucket = stack_client.stack.artifact_bucket
    hanging = put_release_like(stack_client.aws.s3, bucket, good, "hanging", shift_names=False)
    with stopwatch() as elapsed:
        rollback = world.wait_for(lambda event: event.detail_type in ENDS, "the rollback", since)
        seconds = elapsed()
    faults.clear(endpoint)
    expect("how it ended", "RolledBack", rollback.detail_type)
    failed, returned = stack_client.ledger.deployments(SITE)[-2:]
    expect("the release that was left", hanging.run_id, rollback.text("from_release"))
    expect("a time-out as the reason", expected=True, seen="does not answer" in failed.reason)
    expect("the rollback was automatic", expected=True, seen=returned.automatic)
    expect(f"back within {HANGING_S:.0f} s", expected=True, seen=seconds < HANGING_S)
    _expect_live_and_tested(world, returned, live)
    return {
        "release": hanging.run_id,
        "smoke_test": failed.reason,
        "arrival_to_restored_s": round(seconds, 3),
        "deployments": [_summary_of(failed), _summary_of(returned)],
        "live": live,
    }


def rollback_by_hand(world: DemoWorld) -> Evidence:
    """`rssi rollback` restores the first release."""
    first = world.releases[0].run_id
    command = ["rollback", "--site", SITE, "--to", first, "--json"]
    world.console.print(f"  $ rssi {' '.join(command)}", highlight=False)
    with world.console.status("rolling back"):
        run = subprocess.run(
            [sys.executable, "-m", "ops.cli", *command],
            cwd=ROOT,
            env={**os.environ, **world.stack.environment},
            capture_output=True,
            text=True,
            check=False,
        )
    expect("rssi rollback", "", run.stderr.strip())
    expect("the exit code of rssi rollback", 0, run.returncode)
    deployment = Deployment.model_validate(json.loads(run.stdout))
    _expect_live_and_tested(world, deployment, first)
    return {"release": first, "deployments": [_summary_of(deployment)], "live": first}


ACTS: dict[str, ActFunction] = {
    "A survey is dropped, trained on, and its release goes live": first_survey,
    "A second survey rolls the endpoint without a failed request": second_survey,
    "A broken survey is quarantined": broken_csv,
    "A release that answers wrongly is rolled back automatically": wrong_answers,
    "A container that hangs is rolled back automatically": hanging_container,
    "rssi rollback restores the first release": rollback_by_hand,
}


def _drop_until_live(world: DemoWorld, name: str, content: bytes) -> Evidence:
    since = now()
    with stopwatch() as elapsed:
        survey = world.drop(name, content)
        end = world.wait_for(
            lambda event: _is_end(event, survey.id), "the agent to train on the survey", since
        )
        seconds = elapsed()
    expect(f"how it ended ({end.text('reason')})", "DeploymentSucceeded", end.detail_type)
    world.drop_to_live_s.append(seconds)
    release = world.remember(str(end.release))
    deployment = world.stack_client.ledger.deployments(SITE)[-1]
    _expect_live_and_tested(world, deployment, release.run_id)
    expect("the endpoint", "InService", world.stack_client.status(SITE).endpoint_status)
    return {
        "run_id": release.run_id,
        "release": release.run_id,
        "survey": survey.key,
        "drop_to_live_s": round(seconds, 3),
        "deployments": [_summary_of(deployment)],
    }


def _expect_live_and_tested(world: DemoWorld, deployment: Deployment, run_id: str) -> None:
    expect("the deployment's release", run_id, deployment.candidate.release)
    expect("the deployment", DeploymentState.LIVE.value, deployment.state.value)
    expect(
        "the smoke test measured a latency", expected=True, seen=(deployment.latency_ms or 0) > 0
    )
    expect("the live release", run_id, world.live_release())
    expect("the release that answers", run_id, world.ask().release)


def _summary_of(deployment: Deployment) -> JsonValue:
    return {
        "number": deployment.number,
        "release": deployment.candidate.release,
        "state": deployment.state.value,
        "cause": deployment.cause.value,
        "latency_ms": deployment.latency_ms,
        "reason": deployment.reason,
    }


def _is_end(event: LoggedEvent, survey_id: str) -> bool:
    ends = ENDS | {"DeploymentSucceeded", "SurveyQuarantined"}
    return event.detail_type in ends and event.text("correlation_id") == survey_id


def _is_about(event: LoggedEvent, detail_type: str, survey_id: str) -> bool:
    return event.detail_type == detail_type and event.text("correlation_id") == survey_id


def _release_events(world: DemoWorld, since: datetime) -> list[str]:
    kinds = {"TrainingSucceeded", "ModelCreated", "RolloutStarted", "DeploymentSucceeded"}
    events = world.stack_client.event_log.read(since, SITE)
    return [event.detail_type for event in events if event.detail_type in kinds]
