"""The agent at work in a world without a wire: what it starts, says, and survives."""

from datetime import timedelta

import pytest
from agent_world import World

from events import names
from trainer.training.outcome import ExitCode, Outcome, OutcomeKind


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

    newest = world.agent.surveys.look("lab").surveys[1].id
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

    (told,) = (event for event in world.bus.heard if type(event).__name__ == "SurveyQuarantined")
    assert told.survey.key.endswith("notes.docx")
    assert ".csv" in told.reason
    assert len(world.releases()) == 1


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
        world.active().id, ExitCode.CRASHED, Outcome(kind=OutcomeKind.FAILED, reason=reason)
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
    world.step(world.pace.retry_after.total_seconds())
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
    world.data.delete("sites/lab/surveys/b.csv")
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
    assert world.queue.hidden[receipt] > world.pace.longest_wait.total_seconds()
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
    world = World(World().pace.__class__(timedelta(0), timedelta(60), timedelta(300), 1))
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
