"""Whatever goes wrong, in whatever order: no site is stuck, and what is served is what is live."""

from contextlib import suppress
from datetime import timedelta

from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.core.errors import ReleaseError
from tests.functions.conftest import ENDPOINT, World
from tests.functions.test_faults import aws_error

RELEASES = 4
ERRORS = (ReleaseError, ClientError, EndpointConnectionError, LookupError)
FAULTS = ("liars", "hanging", "crashing", "broken_models", "lenient")
CODES = ("ThrottlingException", "AccessDeniedException", "InternalFailure")

actions = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(0, RELEASES - 1)),
        st.tuples(st.just("fault"), st.sampled_from(FAULTS), st.integers(0, RELEASES - 1)),
        st.tuples(st.just("roll back"), st.one_of(st.none(), st.integers(0, RELEASES - 1))),
        st.tuples(st.just("settle")),
        st.tuples(st.just("settle")),
        st.tuples(st.just("deliver"), st.integers(1, 4)),
        st.tuples(st.just("lose"), st.integers(0, 3)),
        st.tuples(st.just("advance")),
        st.tuples(st.just("tick")),
        st.tuples(st.just("refuse"), st.sampled_from(CODES)),
        st.tuples(st.just("lack capacity")),
        st.tuples(st.just("delete endpoint")),
        st.tuples(st.just("heal")),
    ),
    max_size=25,
)


def deliver(world: World, event: dict[str, object]) -> None:
    with suppress(*ERRORS):  # as Lambda does once its retries are used up
        world.deliver(event)
    world.now += timedelta(seconds=1)


def settle(world: World) -> None:
    while world.bus.wire or world.sagemaker.advance():
        if world.bus.wire:
            deliver(world, world.bus.wire.pop(0))


def heal(world: World) -> None:
    sagemaker = world.sagemaker
    for fault in FAULTS:
        getattr(sagemaker, fault).clear()
    sagemaker.refusing.clear()
    sagemaker.capacity = True


def act(  # noqa: C901, PLR0912  # a table of actions
    world: World, releases: list, number: int, action: tuple
) -> None:
    sagemaker, wire = world.sagemaker, world.bus.wire
    match action:
        case ("arrive", index):
            wire.append(world.arrive(releases[index]))
        case ("fault", kind, index):
            getattr(sagemaker, kind).add(releases[index].run_id)
        case ("roll back", index):
            to = None if index is None else releases[index].run_id
            wire.append(world.ask(to=to, event_id=f"request-{number}"))
        case ("deliver", count):
            for _ in range(min(count, len(wire))):
                deliver(world, wire.pop(0))
        case ("settle",):
            settle(world)
        case ("lose", index) if index < len(wire):
            del wire[index]
        case ("advance",):
            sagemaker.advance()
        case ("tick",):
            wire.append(world.tick())
        case ("refuse", code):
            sagemaker.refusing["update_endpoint"] = aws_error(code)
        case ("lack capacity",):
            sagemaker.capacity = False
        case ("delete endpoint",):
            sagemaker.endpoints.clear()
        case ("heal",):
            heal(world)


@settings(max_examples=100, deadline=None)
@given(actions, st.booleans())
def test_a_site_comes_to_rest_and_serves_what_is_live_or_says_why_not(sequence, is_healed):
    world = World()
    releases = [world.put_release(number) for number in range(1, RELEASES + 1)]
    for number, action in enumerate([("arrive", 0), ("settle",), *sequence]):
        act(world, releases, number, action)
    world.bus.wire.clear()
    if is_healed:
        heal(world)

    for _ in range(100):  # more than eight hours
        world.bus.wire.append(world.tick())
        settle(world)

    state = world.state()
    assert state.in_flight is None
    assert state.rollback_request is None
    assert state.outbox == ()
    assert state.waiting is None or state.paused or state.frozen
    if state.frozen:
        return
    endpoint = world.sagemaker.endpoints.get(ENDPOINT)
    if endpoint is not None and endpoint["EndpointStatus"] == "InService":
        assert state.champion is not None
        assert world.sagemaker.served(ENDPOINT) == state.champion.release
    else:
        assert state.champion is None or state.drift
