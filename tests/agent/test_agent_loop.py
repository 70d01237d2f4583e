"""The agent at work in a world without a wire: what it starts, says, and survives."""

from datetime import timedelta

import pytest

from events import names
from tests.agent.agent_world import World
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome


@pytest.fixture
def world():
    return World()


def test_an_upload_becomes_a_release_and_the_bus_hears_of_it(world):
    world.upload()

    world.settle()

    assert len(world.releases()) == 1
    assert world.bus.kinds() == ["TrainingStarted", "TrainingSucceeded"]


def test_all_events_of_a_run_carry_the_newest_uploads_id(world):
    world.upload("a.csv")
    world.clock.forward(60)
    world.upload("b.csv")

    world.settle()

    newest = world.agent.surveys.listing("lab").surveys[1].id
    assert {event.correlation_id for event in world.bus.heard} == {newest}


def test_the_agent_needs_no_message_to_find_what_was_uploaded(world):
    world.step()
    world.upload()

    world.step(world.agent.idle_s())
    world.settle()

    assert len(world.releases()) == 1


def test_files_that_arrive_together_make_one_run(world):
    for name in ("a.csv", "b.csv", "c.csv"):
        world.upload(name)
        world.message()
        world.step(2)
    world.settle()

    assert len(world.releases()) == 1


def test_what_arrives_during_a_run_makes_exactly_one_more_run(world):
    world.upload("a.csv")
    world.step()
    world.step(5)
    first = world.active()
    for name in ("b.csv", "c.csv"):
        world.upload(name)
        world.message()
        world.step(20)
    assert world.runner.started == [first.id]

    world.settle()

    assert len(world.runner.started) == 2
    last = world.agent.artifacts.release(world.runner.started[1])
    assert [survey.key[-5:] for survey in last.snapshot.surveys] == ["a.csv", "b.csv", "c.csv"]


def test_bad_surveys_are_left_out_of_the_next_run_and_told_once(world):
    for name in ("bad-1.csv", "bad-2.csv", "good.csv"):
        world.upload(name)
    world.step()
    world.step(5)
    world.find_bad(world.active(), "bad-1.csv", "bad-2.csv")

    world.settle()

    assert world.bus.kinds() == [
        "TrainingStarted",
        "SurveyQuarantined",
        "SurveyQuarantined",
        "TrainingFailed",
        "TrainingStarted",
        "TrainingSucceeded",
    ]
    (release,) = world.releases()
    run = names.parse_release_key(release).run_id
    assert [s.key[-8:] for s in world.agent.artifacts.release(run).snapshot.surveys] == ["good.csv"]


def test_a_bad_survey_on_top_of_released_data_starts_nothing_more(world):
    world.upload("good.csv")
    world.settle()
    world.upload("bad.csv")
    world.message()
    world.step()
    world.step(5)
    world.find_bad(world.active(), "bad.csv")

    world.settle()

    assert len(world.runner.started) == 2
    assert len(world.releases()) == 1


def test_a_file_that_is_no_csv_is_set_aside_by_the_agent_and_the_rest_is_trained(world):
    world.upload("notes.docx")
    world.upload("SURVEY.CSV")

    world.settle()

    (reported,) = (
        event for event in world.bus.heard if type(event).__name__ == "SurveyQuarantined"
    )
    assert reported.survey.key.endswith("notes.docx")
    assert ".csv" in reported.reason
    assert len(world.releases()) == 1


@pytest.mark.parametrize("name", ["a.CSV.gz", "a.jsonl", "a.jsonl.gz", "a.ndjson", "a.parquet"])
def test_surveys_in_other_formats_are_trained(world, name):
    world.upload(name)

    world.settle()

    assert len(world.releases()) == 1
    assert not [event for event in world.bus.heard if type(event).__name__ == "SurveyQuarantined"]


def test_things_that_are_no_surveys_are_passed_over(world):
    world.data.put("sites/lab/surveys/", b"")
    world.data.put("sites/Not A Site/surveys/a.csv", b"rows")
    world.data.put("readme.txt", b"hello")

    world.settle()

    assert world.runner.started == []
    assert world.bus.heard == []


def test_a_failed_run_is_told_once_with_a_reason_and_not_tried_for_ever(world):
    world.upload()
    world.step()
    world.step(5)
    reason = "ValueError: no beacons"
    world.runner.end(
        world.active().id, ExitCode.CRASHED, RunOutcome(kind=OutcomeKind.FAILED, reason=reason)
    )

    world.settle()
    world.step(3600)

    (failed,) = (event for event in world.bus.heard if type(event).__name__ == "TrainingFailed")
    assert failed.exit_code == 1
    assert reason in failed.reason
    assert len(world.runner.started) == 1


def test_a_run_that_only_the_network_stopped_is_started_again_by_itself(world):
    world.upload()
    world.step()
    world.step(5)
    world.runner.end(world.active().id, ExitCode.TRY_AGAIN)

    world.step()
    world.step(world.policy.retry_after.total_seconds())
    world.settle()

    assert len(world.releases()) == 1


def test_a_run_that_was_killed_just_after_its_claim_counts_as_succeeded(world):
    world.upload()
    world.step()
    world.step(5)
    run = world.active()
    world.succeed(run)
    world.runner._change(run.id, state="failed", exit_code=137)

    world.settle()

    assert world.bus.kinds() == ["TrainingStarted", "TrainingSucceeded"]


def test_a_deleted_survey_is_missing_from_the_next_run(world):
    world.upload("a.csv")
    world.upload("b.csv")
    world.settle()
    world.data.lose("sites/lab/surveys/b.csv")
    world.message()

    world.settle()

    last = world.agent.artifacts.release(world.runner.started[-1])
    assert [survey.key[-5:] for survey in last.snapshot.surveys] == ["a.csv"]


def test_a_changed_description_of_the_site_makes_another_run(world):
    world.upload()
    world.settle()
    world.data.put("sites/lab/site.json", b"{}")
    world.message()

    world.settle()

    assert len(set(world.runner.started)) == 2


def test_a_message_is_kept_and_hidden_while_uploads_may_go_on_and_deleted_once_the_run_is_there(
    world,
):
    world.upload()
    receipt = world.message()
    world.step()
    assert world.queue.hidden[receipt] > world.policy.longest_wait.total_seconds()
    assert world.queue.deleted == []

    world.step(5)

    assert world.runner.started
    assert world.queue.deleted == [receipt]


def test_a_message_about_nothing_new_is_deleted(world):
    world.upload()
    world.settle()
    receipt = world.message()

    world.step()

    assert world.queue.deleted == [receipt]


def test_while_a_store_is_down_the_agent_waits_longer_and_longer_and_keeps_its_messages(world):
    world.upload()
    world.message()
    world.artifacts.down = True
    world.step()
    pauses = []
    for _ in range(8):
        pauses.append(world.agent.idle_s())
        world.step(pauses[-1])

    assert pauses == sorted(pauses)
    assert 0 < pauses[0] < 1
    assert 30 < pauses[-1] <= 60
    assert world.queue.deleted == []

    world.artifacts.down = False
    world.settle()
    assert len(world.releases()) == 1


def test_a_bus_that_is_down_stops_no_training_and_hears_everything_later(world):
    world.bus.down = True
    world.upload()
    world.step()
    world.step(5)
    world.succeed(world.active())
    world.step(1)
    world.bus.down = False

    world.settle()

    assert world.bus.kinds() == ["TrainingStarted", "TrainingSucceeded"]


def test_a_restarted_agent_repeats_nothing_it_has_said(world):
    world.upload()
    world.settle()
    heard = list(world.bus.heard)

    world.restart_agent()
    world.settle()

    assert world.bus.heard == heard
    assert len(world.runner.started) == 1


def test_a_restarted_agent_tells_what_ended_while_it_was_away(world):
    world.upload()
    world.step()
    world.step(5)
    run = world.active()
    world.succeed(run)

    world.restart_agent()
    world.settle()

    assert world.bus.kinds() == ["TrainingStarted", "TrainingSucceeded"]


def test_sites_do_not_wait_for_each_other(world):
    for site in ("one", "two"):
        world.upload(site=site)
    world.step()
    world.step(5)

    assert len(world.runner.started) == 2


def test_more_sites_than_places_are_served_one_after_the_other():
    world = World(World().policy.__class__(timedelta(0), timedelta(60), timedelta(300), 1))
    for site in ("one", "two", "three"):
        world.upload(site=site)
    world.step(2)
    assert len(world.runner.started) == 1

    world.settle()

    assert len(world.releases()) == 3


def test_with_nothing_to_do_the_agent_sleeps_until_the_next_resync(world):
    world.upload()
    world.settle()

    assert world.agent.idle_s() > 200


def test_a_run_that_failed_is_started_again_once_the_pod_template_has_changed(world):
    world.upload()
    world.step()
    world.step(5)
    run = world.active()
    world.runner.end(run.id, ExitCode.CRASHED)
    world.settle()
    assert len(world.runner.started) == 1

    world.runner.template = "another"
    world.restart_agent()
    world.settle()

    assert world.runner.started == [run.id, run.id]
    assert len(world.releases()) == 1


@pytest.mark.parametrize("code", [ExitCode.BAD_DATA, ExitCode.NOT_ENOUGH_DATA])
def test_no_template_makes_up_for_what_the_data_lacks(world, code):
    world.upload()
    world.step()
    world.step(5)
    world.runner.end(world.active().id, code)
    world.settle()

    world.runner.template = "another"
    world.restart_agent()
    world.settle()

    assert len(world.runner.started) == 1


@pytest.mark.parametrize(
    "reason", ["DeadlineExceeded: ImagePullBackOff: no way", "Evicted: the node was low on memory"]
)
def test_a_run_that_never_had_its_chance_gets_another_one_later(world, reason):
    world.upload()
    world.step()
    world.step(5)
    run = world.active()
    world.runner.end(run.id, ExitCode.CRASHED)
    world.runner._change(run.id, exit_code=None, reason=reason)

    world.step()
    world.step(world.policy.retry_after.total_seconds())
    world.settle()

    assert len(world.releases()) == 1


def test_a_message_that_waits_for_a_run_is_hidden_again_and_again_until_its_own_job_is_there(world):
    world.upload("a.csv")
    world.step()
    world.step(5)
    world.upload("b.csv")
    receipt = world.message()
    hidings = 0
    for _ in range(4):
        world.queue.hidden.clear()
        world.step(600)
        hidings += receipt in world.queue.hidden
    assert hidings == 4
    assert world.queue.deleted == []

    world.settle()

    assert world.queue.deleted == [receipt]
    assert len(world.runner.started) == 2


def test_a_message_is_let_go_before_sqs_counts_its_stay_against_it(world):
    world.upload("a.csv")
    world.step()
    world.step(5)
    world.upload("b.csv")
    receipt = world.message()
    world.step()

    world.step(11 * 3600)
    assert world.queue.deleted == [receipt]

    world.settle()
    assert len(world.runner.started) == 2, "the listing carries on what it asked for"


def test_a_site_with_endless_uploads_leaves_room_for_the_others():
    world = World(World().policy.__class__(timedelta(0), timedelta(60), timedelta(300), 1))
    served = []
    for turn in range(6):
        world.upload(f"{turn}.csv", site="busy")
        if turn == 0:
            for site in ("quiet-1", "quiet-2"):
                world.upload(site=site)
        world.step(2)
        active = world.active()
        served.append(active.spec.site)
        world.succeed(active)
    assert set(served[:3]) == {"busy", "quiet-1", "quiet-2"}


def test_a_site_where_nothing_changed_costs_one_listing(world):
    world.upload()
    world.settle()
    world.data.calls.clear()
    world.artifacts.calls.clear()

    world.step(world.agent.idle_s())

    assert world.data.calls == ["folders sites/", "list sites/lab/"]
    assert world.artifacts.calls == []


def test_a_new_agent_asks_for_the_release_of_a_site_and_lists_it_once(world):
    world.upload()
    world.settle()
    world.restart_agent()
    world.data.calls.clear()
    world.artifacts.calls.clear()

    world.step()

    (release,) = world.releases()
    assert world.data.calls == ["folders sites/", "list sites/lab/"]
    assert world.artifacts.calls[:1] == [f"exists {release}"]
    assert not [call for call in world.artifacts.calls[1:] if "quarantine" in call]


def test_a_quarantined_survey_stays_out_although_the_release_is_asked_for_first(world):
    world.upload("good.csv")
    world.upload("bad.csv")
    world.step(10)
    world.find_bad(world.active(), "bad.csv")
    world.settle()
    world.restart_agent()

    world.settle()

    (release,) = (world.agent.artifacts.release(run) for run in world.runner.started[1:])
    assert [survey.key for survey in release.snapshot.surveys] == ["sites/lab/surveys/good.csv"]
    assert len(world.runner.started) == 2


def test_a_release_that_was_deleted_is_missed_within_the_hour_or_so(world):
    world.upload()
    world.settle()
    (release,) = world.releases()
    world.artifacts.lose(release)

    world.step(4000)
    world.settle()

    assert world.releases() == [release]


def test_metrics_and_vitals_say_how_it_goes(world):
    world.upload()
    world.settle()

    reported = world.agent.metrics.text().decode()

    assert 'rssi_runs{state="succeeded"} 1.0' in reported
    assert "rssi_sites 1.0" in reported
    assert 'rssi_events_published_total{kind="TrainingSucceeded"} 1.0' in reported
    assert world.agent.health.ready


def test_what_goes_wrong_is_counted_and_a_bad_round_is_no_good_reconcile(world):
    world.upload()
    world.artifacts.down = True
    world.step()

    reported = world.agent.metrics.text().decode()

    assert 'rssi_border_errors_total{border="store"} 1.0' in reported
    assert "rssi_last_successful_reconcile_timestamp_seconds 0.0" in reported
    assert not world.agent.health.ready
