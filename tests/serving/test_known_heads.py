"""A head that comes again is not parsed again, and nobody can tell."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.serving.running_server import PATIENCE_S, RunningServer


class Wire:
    """A raw connection that counts what it gets."""

    def __init__(self, server: RunningServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S)
        # Each piece leaves by itself, so that the server gets it by itself.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")

    def send(self, piece: bytes) -> None:
        self.socket.sendall(piece)

    def answer(self) -> tuple[int, dict[str, object]]:
        status = int(self.reader.readline().split()[1])
        length = 0
        while line := self.reader.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name == b"content-length" else length
        return status, json.loads(self.reader.read(length) or b"{}")

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


@pytest.fixture
def wire(server: RunningServer) -> Iterator[Wire]:
    made = Wire(server)
    yield made
    made.close()


def head(server: RunningServer, length: int, method: str = "POST", more: str = "") -> bytes:
    lines = f"{method} {server.path} HTTP/1.1\r\nhost: heads\r\ncontent-type: application/json\r\n"
    return f"{lines}{more}content-length: {length}\r\n\r\n".encode()


ONE, OTHER = b'{"b3001":-60}', b'{"b3002":-88}'


def places(found: tuple[int, dict[str, object]]) -> object:
    assert found[0] == 200
    return found[1]["predictions"]


def test_the_same_head_with_another_body_gets_that_body_s_answer(
    server: RunningServer, wire: Wire
) -> None:
    expected = [server.invoke(json.loads(body)).document["predictions"] for body in (ONE, OTHER)]

    found = []
    for body in (ONE, OTHER, ONE, OTHER):
        wire.send(head(server, len(body)) + body)
        found.append(places(wire.answer()))

    assert expected[0] != expected[1]
    assert found == expected * 2


@pytest.mark.parametrize("cut", [10, 60, -14, -13, -5])
def test_a_known_head_that_comes_in_pieces_is_understood(
    server: RunningServer, wire: Wire, cut: int
) -> None:
    whole = head(server, len(ONE)) + ONE
    wire.send(whole)
    expected = places(wire.answer())

    for _ in range(3):
        wire.send(whole[:cut])
        # An answer to something else in between: the first piece was read before the second left.
        assert server.ask("GET", "/ping").status == 200
        wire.send(whole[cut:])
        assert places(wire.answer()) == expected


def test_the_rest_of_a_head_is_not_learned_as_a_head(server: RunningServer, wire: Wire) -> None:
    whole = head(server, len(ONE)) + ONE
    for _ in range(3):
        wire.send(whole[:7])
        assert server.ask("GET", "/ping").status == 200
        wire.send(whole[7:])
        assert wire.answer()[0] == 200

    wire.send(whole[7:])

    assert wire.answer()[0] == 400


def test_two_requests_in_one_piece_are_two(server: RunningServer, wire: Wire) -> None:
    one, other = head(server, len(ONE)) + ONE, head(server, len(OTHER)) + OTHER
    wire.send(one)
    first = places(wire.answer())

    wire.send(one + other)

    assert places(wire.answer()) == first
    assert places(wire.answer()) != first


def test_a_known_head_ends_the_connection_only_if_it_says_so(
    server: RunningServer, wire: Wire
) -> None:
    closing = head(server, len(ONE), more="connection: close\r\n") + ONE
    wire.send(head(server, len(ONE)) + ONE)
    assert wire.answer()[0] == 200

    wire.send(closing)

    assert wire.answer()[0] == 200
    assert wire.reader.read() == b""


def test_more_heads_than_are_kept_are_all_understood(server: RunningServer, wire: Wire) -> None:
    for number in [*range(300), *range(300)]:
        wire.send(head(server, len(ONE), more=f"x-number: {number}\r\n") + ONE)
        assert wire.answer()[0] == 200


def test_a_head_is_known_to_its_method_and_path_alone(server: RunningServer, wire: Wire) -> None:
    for _ in range(2):
        wire.send(head(server, len(ONE)) + ONE)
        assert wire.answer()[0] == 200
        wire.send(head(server, len(ONE), method="PUT") + ONE)
        assert wire.answer()[0] == 405
