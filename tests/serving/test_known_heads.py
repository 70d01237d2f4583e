"""A known head is not parsed again, without any effect on the responses."""

import json
import socket
from collections.abc import Iterator

import pytest

from tests.serving.running_server import PATIENCE_S, RunningServer


class RawConnection:
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
def connection(server: RunningServer) -> Iterator[RawConnection]:
    made = RawConnection(server)
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
    server: RunningServer, connection: RawConnection
) -> None:
    expected = [server.invoke(json.loads(body)).document["predictions"] for body in (ONE, OTHER)]

    found = []
    for body in (ONE, OTHER, ONE, OTHER):
        connection.send(head(server, len(body)) + body)
        found.append(places(connection.answer()))

    assert expected[0] != expected[1]
    assert found == expected * 2


@pytest.mark.parametrize("cut", [10, 60, -14, -13, -5])
def test_a_known_head_that_comes_in_pieces_is_understood(
    server: RunningServer, connection: RawConnection, cut: int
) -> None:
    whole = head(server, len(ONE)) + ONE
    connection.send(whole)
    expected = places(connection.answer())

    for _ in range(3):
        connection.send(whole[:cut])
        # An answer to something else in between: the first piece was read before the second left.
        assert server.ask("GET", "/ping").status == 200
        connection.send(whole[cut:])
        assert places(connection.answer()) == expected


def test_the_rest_of_a_head_is_not_learned_as_a_head(
    server: RunningServer, connection: RawConnection
) -> None:
    whole = head(server, len(ONE)) + ONE
    for _ in range(3):
        connection.send(whole[:7])
        assert server.ask("GET", "/ping").status == 200
        connection.send(whole[7:])
        assert connection.answer()[0] == 200

    connection.send(whole[7:])

    assert connection.answer()[0] == 400


def test_two_requests_in_one_piece_are_two(
    server: RunningServer, connection: RawConnection
) -> None:
    one, other = head(server, len(ONE)) + ONE, head(server, len(OTHER)) + OTHER
    connection.send(one)
    first = places(connection.answer())

    connection.send(one + other)

    assert places(connection.answer()) == first
    assert places(connection.answer()) != first


def test_a_known_head_ends_the_connection_only_if_it_says_so(
    server: RunningServer, connection: RawConnection
) -> None:
    closing = head(server, len(ONE), more="connection: close\r\n") + ONE
    connection.send(head(server, len(ONE)) + ONE)
    assert connection.answer()[0] == 200

    connection.send(closing)

    assert connection.answer()[0] == 200
    assert connection.reader.read() == b""


def test_more_heads_than_are_kept_are_all_understood(
    server: RunningServer, connection: RawConnection
) -> None:
    for number in [*range(300), *range(300)]:
        connection.send(head(server, len(ONE), more=f"x-number: {number}\r\n") + ONE)
        assert connection.answer()[0] == 200


def test_a_head_is_known_to_its_method_and_path_alone(
    server: RunningServer, connection: RawConnection
) -> None:
    for _ in range(2):
        connection.send(head(server, len(ONE)) + ONE)
        assert connection.answer()[0] == 200
        connection.send(head(server, len(ONE), method="PUT") + ONE)
        assert connection.answer()[0] == 405
