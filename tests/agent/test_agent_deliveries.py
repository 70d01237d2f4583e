"""Whatever the queue does to its messages, and whoever restarts, the end is the same."""

from agent_world import World
from hypothesis import given, settings
from hypothesis import strategies as st

from events import names
from events.outbound import TrainingSucceeded

UPLOADS = st.lists(
    st.tuples(
        st.sampled_from(["one", "two"]),
        st.sampled_from(["a.csv", "b.csv", "c.csv"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)
"""Site, file and content; the same file twice is a new version of it."""

HAPPENINGS = st.lists(
    st.one_of(
        st.tuples(st.just("message"), st.sampled_from(["one", "two"])),
        st.tuples(st.just("pass time"), st.sampled_from([0.5, 6.0, 400.0])),
        st.tuples(st.just("end runs"), st.just(None)),
        st.tuples(st.just("restart"), st.just(None)),
        st.tuples(st.just("store fails once"), st.just(None)),
    ),
    max_size=12,
)


def happen(world: World, kind: str, value: object) -> None:
    if kind == "message":
        world.message(str(value))
        world.step()
    elif kind == "pass time":
        world.step(float(value))
    elif kind == "end runs":
        for status in world.runner.runs():
            if status.active:
                world.succeed(status.run)
    elif kind == "restart":
        world.restart_agent()
    else:
        world.artifacts.down = True
        world.step()
        world.artifacts.down = False


@given(UPLOADS, st.data())
@settings(max_examples=60, deadline=None)
def test_lost_repeated_late_and_reordered_messages_lead_to_the_same_end(uploads, data):
    world = World()
    for site, name, content in uploads:
        world.upload(name, bytes([content]), site=site)
        for kind, value in data.draw(HAPPENINGS):
            happen(world, kind, value)

    world.settle()
    world.step(400)
    world.settle()

    for site in {site for site, _, _ in uploads}:
        current = world.agent.surveys.look(site).surveys
        newest = [
            run
            for key in world.releases()
            if (run := names.parse_release_key(key).run_id).startswith(f"{site}-")
            and world.agent.artifacts.release(run).snapshot.surveys == current
        ]
        assert len(newest) == 1, "the newest data has exactly one release"
    assert len(world.runner.started) == len(set(world.runner.started)), "no run was started twice"
    assert len(world.releases()) == len(world.runner.started)
    told = [event.run_id for event in world.bus.heard if isinstance(event, TrainingSucceeded)]
    assert sorted(told) == sorted(world.runner.started), "each end is told once"
