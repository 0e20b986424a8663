"""The table of the client's states: the page shows it, the code keeps to it."""

import itertools
import struct
from pathlib import Path

import pytest
from test_wire import ATOMS, feed, joined, outcome, structure

from forceserver.errors import PotentialError, ProtocolError
from forceserver.ipi import wire
from forceserver.ipi.wire import states
from forceserver.ipi.wire.states import COMPUTING, HAVEDATA, NEEDINIT, READY, RECEIVING

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
ANSWER = "*answer to STATUS*"
EVENTS = tuple(dict.fromkeys(event for row in states.TRANSITIONS.values() for event in row))


def table_on_the_page() -> dict[str, dict[str, str]]:
    """Event -> state -> entry."""
    lines = PAGE.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if line.startswith("| event |"))
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines[begin:])
    ]
    names = rows[0][1:]
    return {event: dict(zip(names, cells, strict=True)) for event, *cells in rows[2:]}


def test_page_shows_the_table():
    def shown(event: bytes) -> dict[str, str]:
        after = {state: state.after.get(event) for state in wire.State}
        return {state.name: following.name if following else "" for state, following in after.items()}

    expected = {event.decode().rstrip(): shown(event) for event in EVENTS}
    expected[ANSWER] = {state.name: state.answer.decode().rstrip() for state in wire.State}
    assert table_on_the_page() == expected


def whole_posdata() -> bytes:
    return joined(wire.ServerConnection(ATOMS).positions([structure()], getforce=False))


def client_in(state: wire.State) -> wire.ClientConnection:
    """A client that has come to `state` through bytes and results."""
    client = wire.ClientConnection(structure())
    if state is READY:
        feed(client, wire.ServerConnection(ATOMS).init(0))
    elif state is RECEIVING:
        feed(client, whole_posdata()[:100])
    elif state in (COMPUTING, HAVEDATA):
        feed(client, whole_posdata())
        if state is HAVEDATA:
            client.set_results([outcome()])
    assert client.state is state
    return client


def happen(client: wire.ClientConnection, event: bytes) -> None:
    """Makes `event` happen to `client` as its owner or the server would."""
    if event == states.RESULTS:
        client.set_results([outcome()])
    elif event in (states.SENT, states.SENT_WANTING_INIT):
        client.wants_init = event == states.SENT_WANTING_INIT
        client.forces()
    elif event == states.BEGIN:
        feed(client, wire.POSDATA)
    else:
        assert feed(client, event) == [event]


HEADERS_ALONE = (wire.STATUS, wire.GETFORCE, wire.EXIT)
DIRECT = [
    (state, event)
    for state in wire.State
    for event in EVENTS
    if event not in (wire.INIT, wire.POSDATA) and not (state is RECEIVING and event in (states.BEGIN, *HEADERS_ALONE))
]


@pytest.mark.parametrize(("state", "event"), DIRECT, ids=lambda value: getattr(value, "name", value))
def test_client_goes_where_the_table_says(state, event):
    client, following = client_in(state), state.after.get(event)
    if following is None:
        with pytest.raises(ProtocolError if event in HEADERS_ALONE else RuntimeError):
            happen(client, event)
        following = state
    else:
        happen(client, event)
    assert client.state is following
    assert client.answer() == following.answer


RECEIVED = [(state, event) for state in wire.State for event in (wire.INIT, wire.POSDATA)]
RECEIVED.remove((RECEIVING, wire.INIT))  # the client of `client_in` is receiving a POSDATA


@pytest.mark.parametrize(("state", "event"), RECEIVED)
def test_messages_with_something_behind_the_header_are_received_first(state, event):
    message = wire.ServerConnection(ATOMS).init(0) if event == wire.INIT else whole_posdata()
    client, begun = client_in(state), 100 if state is RECEIVING else 13
    if state is not RECEIVING:
        feed(client, message[:begun])
    assert client.state is state.after[states.BEGIN] is RECEIVING
    assert feed(client, message[begun:]) == [event]
    assert client.state is RECEIVING.after[event]


REFUSED = [
    wire.POSDATA + bytes(144) + struct.pack("=i", ATOMS + 1),
    wire.POSDATA + bytes(144) + struct.pack("=i", ATOMS) + bytes(24 * ATOMS),  # a singular cell
    wire.POSDATA + bytes(144) + struct.pack("=i", ATOMS) + b"\xff" * 24 * ATOMS,
    wire.INIT + struct.pack("=ii", 0, -1),
    wire.INIT + struct.pack("=ii", 0, 12) + b"batch_size:0",
]


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("state", [COMPUTING, HAVEDATA])
def test_nothing_from_before_is_sent_behind_a_message_that_was_refused(state, message):
    """Also when it is asked for again, as often as one likes."""
    client = client_in(state)
    with pytest.raises(ProtocolError) as first:
        feed(client, message + wire.GETFORCE)
    for _ in range(2):
        with pytest.raises(ProtocolError) as again:
            client.next_message()
        assert str(again.value) == str(first.value)
    with pytest.raises(RuntimeError):
        client.set_results([outcome()])
    with pytest.raises(RuntimeError):
        client.forces()


def test_nothing_is_sent_behind_results_that_were_refused():
    client = client_in(COMPUTING)
    with pytest.raises(PotentialError):
        client.set_results([outcome(), outcome()])
    assert client.state is COMPUTING
    with pytest.raises(RuntimeError, match="set_results"):
        client.forces()
    client.set_results([outcome()])
    assert client.state is HAVEDATA


def test_a_client_begins_without_init():
    assert wire.ClientConnection(structure()).state is NEEDINIT


def test_frames_stay_when_the_inbox_has_to_grow_behind_them():
    """A server that goes on talking while its structures are computed takes neither their replica nor their number."""
    server, client = wire.ServerConnection(ATOMS, 3), wire.ClientConnection(structure())
    frames = [structure(1), structure(2), structure(2)]
    feed(client, server.init(7) + joined(server.positions(frames, getforce=False)))
    before = list(client.frames)
    feed(client, wire.STATUS * 1000)
    assert all(now is then for now, then in zip(client.frames, before, strict=True))
    assert (len(client.frames), client.frames[0].replica) == (2, 7)
    assert client.frames[1].positions == pytest.approx(structure(2).positions, rel=1e-15)
