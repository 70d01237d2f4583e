"""Whatever the queue does to its messages, and whoever restarts, the end is the same."""

import random
from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from events import names
from events.outbound import TrainingSucceeded
from ops.dev.fakes.memory_runner import MemoryRunner
from tests.agent.agent_world import World
from tests.agent.interleaving import Baton
from trainer.agent.adapters.survey_queue import QueueMessage
from trainer.agent.core.reconcile import SchedulingPolicy
from trainer.agent.core.runs import TrainingRun
from trainer.agent.settings import AgentSettings
from trainer.agent.work_queue import WorkItem

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
        current = world.agent.surveys.listing(site).surveys
        newest = [
            run
            for key in world.releases()
            if (run := names.parse_release_key(key).run_id).startswith(f"{site}-")
            and world.agent.artifacts.release(run).snapshot.surveys == current
        ]
        assert len(newest) == 1, "the newest data has exactly one release"
    assert len(world.runner.started) == len(set(world.runner.started)), "no run was started twice"
    assert len(world.releases()) == len(world.runner.started)
    reported = [event.run_id for event in world.bus.heard if isinstance(event, TrainingSucceeded)]
    assert sorted(reported) == sorted(world.runner.started), "each end is told once"


AT_ONCE = SchedulingPolicy(timedelta(0), timedelta(60), timedelta(300), max_parallel_runs=2)
DELIVERIES = 100
WORKERS = 3


class SharedRunner(MemoryRunner):
    """A runner that others touch between two of its steps."""

    def __init__(self, world: World, baton: Baton) -> None:
        super().__init__(world.clock)
        self._baton = baton

    def start(self, run: TrainingRun) -> None:
        self._baton.pass_on()
        super().start(run)

    def runs(self):
        self._baton.pass_on()
        return super().runs()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=1000, deadline=None)
def test_an_upload_that_is_delivered_a_hundred_times_to_several_workers_is_trained_once(seed):
    draw, baton, world = random.Random(seed), Baton(seed), World(AT_ONCE)
    world.upload()
    world.runner = SharedRunner(world, baton)
    world.data.on_touch = world.artifacts.on_touch = baton.pass_on
    receipts = [f"r{n}" for n in range(DELIVERIES)]
    draw.shuffle(receipts)

    def work(mine: list[str]) -> None:
        agent = world.make_agent()
        while mine:
            taken = [mine.pop() for _ in range(min(len(mine), draw.randint(1, 40)))]
            for receipt in taken:
                message = QueueMessage(body="", receipt=receipt, first_time=True)
                agent.work_queue.put(WorkItem("lab", message))
            agent.step(0.0)

    def train() -> None:
        for _ in range(5):
            baton.pass_on()
            for status in [status for status in world.runner.runs() if status.active]:
                world.succeed(status.run)

    shares = [receipts[n::WORKERS] for n in range(WORKERS)]
    baton.run([*(lambda share=share: work(share) for share in shares), train])
    world.runner._baton = Baton(0)
    world.restart_agent()
    world.settle()

    assert len(world.runner.started) == 1
    assert len(world.releases()) == 1
    snapshots = [found.key for found in world.artifacts.objects("sites/lab/snapshots/")]
    assert len(snapshots) == 1


def test_a_thousand_surveys_within_a_minute_make_at_most_two_runs_a_site():
    world = World(AgentSettings(max_parallel_runs=4).policy)
    draw = random.Random(1)
    sites = [f"site-{n}" for n in range(20)]
    drops = sorted((draw.uniform(0, 60), draw.choice(sites), n) for n in range(1000))
    now = 0.0
    for moment, site, number in drops:
        world.clock.forward(moment - now)
        now = moment
        world.upload(f"{number}.csv", site=site)
        world.message(site)
        world.agent.step(0.0)
        if number % 50 == 0:
            for status in world.runner.runs():
                if status.active:
                    world.succeed(status.run)

    world.settle()

    per_site = Counter(names.site_of_run(run) for run in world.runner.started)
    assert max(per_site.values()) <= 2
    for site in sites:
        current = world.agent.surveys.listing(site).surveys
        wanted = world.agent.observer.observe(site, None).wanted
        release = world.agent.artifacts.release(wanted.run.id)
        assert release.snapshot.surveys == current, "none is lost"


def test_with_no_events_at_all_the_resync_finds_everything():
    world = World()
    for site in ("one", "two", "three"):
        world.upload(site=site)
    world.settle()
    for site in ("two", "four"):
        world.upload("later.csv", site=site)

    world.step(world.agent.idle_s())
    world.settle()

    assert len(world.runner.started) == 5
    assert world.queue.deleted == []
    for site in ("one", "two", "three", "four"):
        wanted = world.agent.observer.observe(site, None).wanted
        assert world.agent.artifacts.is_released(wanted.run.id)
