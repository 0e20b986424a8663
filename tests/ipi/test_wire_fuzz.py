"""The codec under anything that can come in: no bytes make it raise something else, hang, or allocate without bound."""

import contextlib
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_wire import feed, joined, outcome, structure

from forceserver.errors import ProtocolError
from forceserver.ipi import wire

ATOMS = 2
LIMITS = wire.Limits(max_atoms=100, max_batch=8, max_string_bytes=300)
MOST_BYTES = 1 << 16  # of the inbox: eight structures of two atoms and the longest string are 5 kB

INT = st.one_of(st.integers(-3, 10), st.integers(-(2**31), 2**31 - 1)).map(lambda i: struct.pack("=i", i))
TEXT = st.one_of(st.text(max_size=40), st.just("batch_size:3"), st.integers(-2, 10).map("k:v, batch_size:{}".format))


@st.composite
def init_message(draw) -> bytes:
    """INIT with the length in bytes, in characters, or wrong."""
    text = draw(TEXT)
    data = text.encode(errors="surrogatepass")
    length = draw(st.sampled_from([len(data), len(text), len(data) + 1, 0, -1, 2**20]))
    return wire.INIT + draw(INT) + struct.pack("=i", length) + data


@st.composite
def posdata_message(draw) -> bytes:
    """POSDATA of some batch, sometimes with another count, with arbitrary numbers."""
    batch = draw(st.sampled_from([1, 1, 3]))
    message = bytearray(joined(wire.ServerConnection(ATOMS, batch).positions([structure(0, ATOMS)] * batch, False)))
    if draw(st.booleans()):
        number = draw(st.floats())
        struct.pack_into("=d", message, draw(st.integers(1, len(message) // 8 - 1)) * 8, number)
    return bytes(message)


@st.composite
def forceready_message(draw) -> bytes:
    """FORCEREADY with arbitrary extras behind it."""
    extras = draw(st.one_of(st.just(b""), st.binary(max_size=20), st.just(b'{"a": 1}'), st.just(b"[1]")))
    length = draw(st.one_of(st.just(struct.pack("=i", len(extras))), INT))
    count = draw(st.one_of(st.just(struct.pack("=i", ATOMS)), INT))
    return wire.FORCEREADY + bytes(8) + count + bytes(24 * ATOMS + 72) + length + extras


HEADER = st.sampled_from(wire.SERVER_MESSAGES + wire.CLIENT_MESSAGES)
TO_CLIENT = st.lists(st.one_of(HEADER, init_message(), posdata_message(), st.binary(max_size=30)), max_size=8)
TO_SERVER = st.lists(st.one_of(HEADER, forceready_message(), st.binary(max_size=30)), max_size=8)


def survive(connection: wire.Connection, stream: bytes, cut: int) -> list[bytes]:
    """Messages until the first refusal, which must be a `ProtocolError`, or the end."""
    messages: list[bytes] = []
    with contextlib.suppress(ProtocolError):
        for begin in range(0, len(stream), cut):
            feed(connection, stream[begin : begin + cut], messages=messages)
        messages.append(b"end")
    assert len(connection._inbox) <= MOST_BYTES
    return messages


@given(TO_CLIENT, st.integers(1, 60), st.booleans())
def test_client_survives_any_stream_and_its_cuts_do_not_matter(parts, cut, shared_memory):
    stream = b"".join(parts)
    whole = survive(wire.ClientConnection(structure(0, ATOMS), LIMITS, shared_memory), stream, max(len(stream), 1))
    pieces = survive(wire.ClientConnection(structure(0, ATOMS), LIMITS, shared_memory), stream, cut)
    assert pieces == whole


@given(TO_SERVER, st.integers(1, 60))
def test_server_survives_any_stream_and_its_cuts_do_not_matter(parts, cut):
    stream = b"".join(parts)
    whole = survive(wire.ServerConnection(ATOMS, limits=LIMITS), stream, max(len(stream), 1))
    assert survive(wire.ServerConnection(ATOMS, limits=LIMITS), stream, cut) == whole


@given(
    st.lists(st.sampled_from(["structure", "structure alone", "status", "init"]), max_size=12),
    st.integers(1, 5),
    st.integers(1, 400),
)
def test_conversations_in_any_order_carry_the_numbers(steps, batch, cut):
    """Whatever the order, a result belongs to the last structure, and the answer to STATUS is the right one."""
    server, client = wire.ServerConnection(ATOMS, batch), wire.ClientConnection(structure(0, ATOMS))
    feed(client, server.init(0))
    for seed, step in enumerate(steps):
        if step == "init":
            assert feed(client, server.init(seed, "k : Å") + wire.STATUS, cut) == [wire.INIT, wire.STATUS]
        elif step == "status":
            assert feed(client, wire.STATUS, cut) == [wire.STATUS]
            assert client.answer() == wire.READY
        else:
            frames = [structure(seed + 10 * i, ATOMS) for i in range(batch)]
            feed(client, joined(server.positions(frames, getforce=step == "structure")), cut)
            for got, sent in zip(client.frames, frames, strict=True):
                np.testing.assert_allclose(got.positions, sent.positions, rtol=1e-15)
            results = [outcome(seed + i, ATOMS) for i in range(batch)]
            client.set_results(results)
            assert client.answer() == wire.HAVEDATA
            if step == "structure alone":
                assert feed(client, wire.STATUS + wire.GETFORCE, cut) == [wire.STATUS, wire.GETFORCE]
            assert feed(server, joined(client.forces()), cut) == [wire.FORCEREADY]
            for got, sent in zip(server.results, results, strict=True):
                np.testing.assert_allclose(got.forces, sent.forces, rtol=1e-15)


@given(st.one_of(st.text(max_size=60), st.dictionaries(st.text(max_size=5), st.floats() | st.text(max_size=5))))
def test_extras_either_arrive_or_are_refused_here(extras):
    """What `encode_extras` lets pass, i-PI's own reader takes."""
    from ipi.interfaces.utils import parse_extra

    from forceserver.errors import PotentialError

    try:
        data = wire.encode_extras(extras)
    except PotentialError:
        return
    parse_extra(data.decode())
    wire.decode_extras(data)
