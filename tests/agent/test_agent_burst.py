"""A burst in real time: as dense for each site as a thousand surveys over twenty, and faster.

The agent is a process with its whole service loop; S3, SQS and the API server are on sockets. A
thousand at once are played on a simulated clock, in test_agent_deliveries.py: here the fake S3,
which looks at every key for each listing, would be all that is tested.
"""

import random
import time
from collections import Counter

import pytest
from moto.s3.models import s3_backends

from events import names
from tests.agent.crashing_agent import Agents
from tests.agent.runner_contract import eventually
from tests.agent.test_agent_crashes import Building, event_body

SITES, SURVEYS = 2, 100
BURST_S, QUIET_S = 1.5, 1.0


@pytest.fixture
def agents(tmp_path):
    started = Agents(tmp_path)
    yield started
    started.close()


def drop(building: Building, drops: list[tuple[float, str, int]]) -> Counter[str]:
    """Upload and tell of it, each at its moment; how often a site had to wait for its next one."""
    # Past the wire: putting objects over HTTP takes as long as the burst may.
    (stores,) = s3_backends.values()
    begun, last, waits = time.monotonic(), dict[str, float](), Counter[str]()
    untold: list[dict[str, str]] = []
    for moment, site, number in drops:
        time.sleep(max(begun + moment - time.monotonic(), 0))
        key = f"{names.surveys_prefix(site)}{number}.csv"
        stores["aws"].put_object(building.data.name, key, b"rows")
        now = time.monotonic()
        waits[site] += now - last.get(site, now) >= QUIET_S
        last[site] = now
        body = event_body(key, building.data.name)
        untold.append({"Id": str(number), "MessageBody": body})
        if len(untold) == 10:
            building.sqs.send_message_batch(QueueUrl=building.queue, Entries=untold)
            untold.clear()
    return waits


def test_a_burst_makes_at_most_two_runs_a_site_and_none_of_it_is_lost(
    aws, kubernetes, tmp_path, agents
):
    building = Building(aws, kubernetes, tmp_path, tuple(f"site-{n}" for n in range(SITES)))
    draw = random.Random(1)
    moments = sorted(draw.uniform(0, BURST_S) for _ in range(SURVEYS))
    drops = [(moment, draw.choice(building.sites), n) for n, moment in enumerate(moments)]
    agent = agents.start({**building.settings, "RSSI_QUIET_PERIOD_S": str(QUIET_S)})

    waits = drop(building, drops)
    eventually(lambda: building.trained() and building.announced(), 60)

    for site, count in Counter(site for _, site, _ in drops).items():
        assert count in building.surveys_of_releases(site), "none is lost"
    for site, runs in Counter(names.site_of_run(run) for run in building.created).items():
        # A machine that is busy may tear a burst apart; then it is more than one.
        assert runs <= 2 + waits[site]
    assert (
        len(building.reported()) == sum(building.reported().values()) == 2 * len(building.created)
    )
    eventually(lambda: not left_in(building))
    assert agents.stop(agent) == 0


def left_in(building: Building) -> int:
    wanted = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = building.sqs.get_queue_attributes(QueueUrl=building.queue, AttributeNames=wanted)
    return sum(int(number) for number in found["Attributes"].values())
