"""What is observed of a site whose surveys are in quarantine."""

from events.manifests import Quarantine
from tests.agent.agent_world import World


def quarantined(world: World, *names: str) -> None:
    for survey in world.agent.surveys.listing("lab").surveys:
        if survey.key.endswith(names):
            found = Quarantine(site="lab", survey=survey, reason="broken")
            world.agent.artifacts.put_in_quarantine(found)


def test_with_every_survey_in_quarantine_nothing_is_wanted():
    world = World()
    world.upload("a.csv")
    quarantined(world, "a.csv")

    state = world.agent.observer.observe("lab", None)

    assert (state.wanted, state.released) == (None, False)


def test_the_release_of_the_other_surveys_is_found_beside_the_quarantine():
    world = World()
    world.upload("good.csv")
    world.settle()
    world.upload("bad.csv")
    quarantined(world, "bad.csv")

    state = world.agent.observer.observe("lab", None)

    assert state.released
    assert state.wanted is not None
    assert [survey.key for survey in state.wanted.snapshot.surveys] == [
        "sites/lab/surveys/good.csv"
    ]
