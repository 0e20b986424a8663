"""The codec by itself: both ends talk to each other through bytes that are cut anywhere."""

import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from ase.units import Bohr, Hartree

from forceserver.errors import PotentialError, ProtocolError
from forceserver.frame import Frame, Result
from forceserver.ipi import wire

ATOMS = 5


def structure(seed: int = 0, atoms: int = ATOMS) -> Frame:
    """A random structure in a triclinic cell."""
    random = np.random.default_rng(seed)
    cell = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-1.0, 0.7, 7.0]])
    return Frame(random.normal(size=(atoms, 3)) * 5, cell, np.full(atoms, 13, np.int32))


def outcome(seed: int = 0, atoms: int = ATOMS, **extras: object) -> Result:
    """A random result with a symmetric virial."""
    random = np.random.default_rng(seed + 1000)
    virial = random.normal(size=(3, 3))
    return Result(float(random.normal()), random.normal(size=(atoms, 3)), virial + virial.T, extras)


def feed(
    connection: wire.Connection, data: bytes, cut: int | None = None, messages: list[bytes] | None = None
) -> list[bytes]:
    """Gives bytes to a connection in pieces of at most `cut` bytes; the messages that come out, behind `messages`."""
    messages = [] if messages is None else messages
    while True:
        while (message := connection.next_message()) is not None:
            messages.append(message)
        if not data:
            return messages
        space = connection.space()
        count = min(len(space), len(data), cut or len(data))
        space[:count] = data[:count]
        connection.received(count)
        data = data[count:]


def joined(buffers: wire.Buffers) -> bytes:
    return b"".join(bytes(buffer) for buffer in buffers)


@pytest.mark.parametrize("cut", [1, 7, None])
@pytest.mark.parametrize("batch", [1, 3])
def test_structures_and_results_survive_the_wire(batch, cut):
    frames = [structure(i) for i in range(batch)]
    results = [outcome(i) for i in range(batch)]
    results[-1].extras["charges"] = np.arange(3.0)
    server, client = wire.ServerConnection(ATOMS, batch), wire.ClientConnection(frames[0])
    assert feed(client, wire.STATUS + server.init(7, " k : 1 , ") + wire.STATUS, cut) == [
        wire.STATUS,
        wire.INIT,
        wire.STATUS,
    ]
    assert (client.replica, client.batch, client.answer()) == (7, batch, wire.READY)
    assert feed(client, joined(server.positions(frames)), cut) == [wire.POSDATA, wire.GETFORCE]
    for sent, got in zip(frames, client.frames, strict=True):
        np.testing.assert_allclose(got.positions, sent.positions, rtol=1e-15)
        np.testing.assert_allclose(got.cell, sent.cell, rtol=1e-15)
    client.set_results(results)
    assert client.answer() == wire.HAVEDATA
    assert feed(server, joined(client.forces()), cut) == [wire.FORCEREADY]
    for sent, got in zip(results, server.results, strict=True):
        assert got.energy == pytest.approx(sent.energy, rel=1e-15)
        np.testing.assert_allclose(got.forces, sent.forces, rtol=1e-15)
        np.testing.assert_allclose(got.virial, sent.virial, rtol=1e-15)
    assert server.results[-1].extras == {"charges": [0, 1, 2]}


def test_bytes_of_a_structure_and_a_result_are_what_the_protocol_says():
    frame, result = structure(), outcome()
    client = wire.ClientConnection(frame)
    h = frame.cell.T / Bohr  # lattice vectors as columns
    message = b"POSDATA     " + h.tobytes() + np.linalg.inv(h).tobytes() + struct.pack("=i", ATOMS)
    message += (frame.positions / Bohr).tobytes()
    assert feed(client, message) == [wire.POSDATA]
    np.testing.assert_allclose(client.frames[0].cell, frame.cell, rtol=1e-15)
    client.set_results([result])
    reply = joined(client.forces())
    assert len(reply) == 100 + 24 * ATOMS
    assert reply[:12] == b"FORCEREADY  "
    energy, atoms = struct.unpack_from("=di", reply, 12)
    assert (energy, atoms) == (pytest.approx(result.energy / Hartree, rel=1e-15), ATOMS)
    numbers = np.frombuffer(reply, offset=24, count=3 * ATOMS + 9)
    np.testing.assert_allclose(numbers[:-9].reshape(-1, 3), result.forces * Bohr / Hartree, rtol=1e-15)
    np.testing.assert_allclose(numbers[-9:].reshape(3, 3), result.virial / Hartree, rtol=1e-15)
    assert reply[-4:] == struct.pack("=i", 0)


def test_upper_triangle_of_the_virial_is_symmetrised():
    client = wire.ClientConnection(structure())
    feed(client, joined(wire.ServerConnection(ATOMS).positions([structure()])))
    result = outcome()
    result.virial = np.array([[1.0, 2, 0], [4, 5, 0], [0, 0, 6]])
    client.set_results([result])
    virial = np.frombuffer(joined(client.forces()), offset=24 + 24 * ATOMS, count=9).reshape(3, 3)
    assert virial[0, 1] == virial[1, 0] == pytest.approx(3 / 27.211386, rel=1e-7)


@pytest.mark.parametrize(
    "as_returned",
    [
        lambda numbers: numbers.astype(np.float32),
        np.asfortranarray,
        lambda numbers: np.repeat(numbers, 2, axis=1)[:, ::2],
        lambda numbers: numbers.astype(numbers.dtype.newbyteorder()),
        lambda numbers: np.ma.array(numbers),
        lambda numbers: numbers.tolist(),
    ],
    ids=["float32", "Fortran order", "strided", "other byte order", "subclass", "lists"],
)
def test_results_in_any_form_arrive(as_returned):
    client, result = computing_client(), outcome()
    forces, virial = result.forces.astype(np.float32), result.virial.astype(np.float32)
    client.set_results([Result(result.energy, as_returned(forces.astype(float)), as_returned(virial.astype(float)))])
    numbers = np.frombuffer(joined(client.forces()), offset=24, count=3 * ATOMS + 9)
    np.testing.assert_allclose(numbers[:-9].reshape(-1, 3), forces.astype(float) * Bohr / Hartree, rtol=1e-15)
    np.testing.assert_allclose(numbers[-9:].reshape(3, 3), virial.astype(float) / Hartree, rtol=1e-15)


@pytest.mark.parametrize(
    "extras",
    [{"a": 1.5, "b": [1, 2]}, {"array": np.eye(2), "scalar": np.float32(1)}, {"text": "Å 水"}, "plain words, Å"],
)
def test_extras_that_may_pass(extras):
    data = wire.encode_extras(extras)
    read = wire.decode_extras(data)
    if isinstance(extras, str):
        assert read == {"raw": extras}
    else:
        assert read == json.loads(json.dumps(extras, default=lambda x: x.tolist()))


@pytest.mark.parametrize(
    ("extras", "what"),
    [
        ({"raw": 1}, "raw"),
        ({"x": float("nan")}, "JSON"),
        ({"x": np.array([1.0, np.inf])}, "JSON"),
        ({"x": object()}, "object has no equivalent in JSON"),
        ("[1, 2]", "not an object"),
        ("1.5", "not an object"),
        ("null", "not an object"),
        ('{"raw": 1}', "raw"),
        ("\ud800", "UTF-8"),
    ],
)
def test_extras_that_would_hang_the_server_are_refused(extras, what):
    with pytest.raises(PotentialError, match=what):
        wire.encode_extras(extras)


def test_extras_that_are_too_long_are_refused():
    with pytest.raises(PotentialError, match="extras of 109 bytes: at most max_string_bytes = 108"):
        wire.encode_extras({"x": "y" * 100}, 108)


def computing_client() -> wire.ClientConnection:
    client = wire.ClientConnection(structure())
    feed(client, joined(wire.ServerConnection(ATOMS).positions([structure()])))
    return client


@pytest.mark.parametrize("field", ["energy", "forces", "virial"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_never_leave(field, value):
    result = outcome()
    if field == "energy":
        result.energy = value
    else:
        getattr(result, field)[1, 2] = value
    client = computing_client()
    with pytest.raises(PotentialError, match=field):
        client.set_results([result])
    assert client.answer() != wire.HAVEDATA


def test_results_of_the_wrong_shape_or_number_never_leave():
    with pytest.raises(PotentialError, match="2 results for 1"):
        computing_client().set_results([outcome(), outcome()])
    with pytest.raises(PotentialError, match=r"shape \(1, 3\)"):
        computing_client().set_results([outcome(atoms=1)])


def count_message(count: int) -> bytes:
    return wire.POSDATA + bytes(144) + struct.pack("=i", count)


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", r"b'HTTP/1.1 400 Bad"),
        (b"GET / ", "GET / "),
        (b"STATUS\0\0\0\0\0\0", "STATUS"),
        (b"\0", r"\\x00"),
        (wire.GETFORCE, "before any POSDATA"),
        (wire.READY, "READY"),
        (count_message(-1), "-1 atoms.*max_atoms = 1000"),
        (count_message(0), "0 atoms"),
        (count_message(2**31 - 1), "2147483647 atoms.*max_atoms = 1000"),
        (count_message(6), "6 atoms, but the template structure here has 5"),
        (wire.INIT + struct.pack("=ii", 0, -5), "-5 bytes"),
        (wire.INIT + struct.pack("=ii", 0, 2**30), "1073741824 bytes.*max_string_bytes = 200"),
        (wire.INIT + struct.pack("=ii", 0, 4) + b"ab\xff\xfe" + wire.STATUS, "not UTF-8"),
        (wire.INIT + struct.pack("=ii", 0, 4) + b"ab\xff\xfe" + bytes(12), "not UTF-8"),
        (wire.INIT + struct.pack("=ii", 0, 12) + b"batch_size:0", "batch_size:0.*max_batch = 16"),
        (wire.INIT + struct.pack("=ii", 0, 14) + b"batch_size:999", "batch_size:999"),
        (wire.INIT + struct.pack("=ii", 0, 12) + b"batch_size:x", "batch_size:x"),
    ],
)
def test_bad_bytes_are_refused_with_what_was_wrong(message, what):
    client = wire.ClientConnection(structure(), wire.Limits(max_atoms=1000, max_batch=16, max_string_bytes=200))
    size = len(client.space())
    with pytest.raises(ProtocolError, match=what):
        feed(client, message)
    assert len(client._inbox) <= size


def test_any_order_of_the_server_is_understood():
    """Legacy order, repeated POSDATA, several STATUS at once, INIT again, a message glued to the end of another."""
    server, client = wire.ServerConnection(ATOMS), wire.ClientConnection(structure())
    assert client.answer() == wire.NEEDINIT
    assert feed(client, wire.STATUS * 3) == [wire.STATUS] * 3
    feed(client, server.init(0))
    first = joined(server.positions([structure(1)], getforce=False))
    second = joined(server.positions([structure(2)], getforce=False))
    assert feed(client, first + second + wire.STATUS) == [wire.POSDATA, wire.POSDATA, wire.STATUS]
    np.testing.assert_allclose(client.frames[0].positions, structure(2).positions, rtol=1e-15)
    client.set_results([outcome()])
    assert client.answer() == wire.HAVEDATA
    feed(client, second)  # the server does not fetch it
    with pytest.raises(RuntimeError, match="set_results"):
        client.forces()
    client.set_results([outcome()])
    assert feed(client, wire.GETFORCE) == [wire.GETFORCE]
    client.wants_init = True
    client.forces()
    assert client.answer() == wire.NEEDINIT
    assert feed(client, server.init(3) + wire.STATUS + first + wire.EXIT) == [
        wire.INIT,
        wire.STATUS,
        wire.POSDATA,
        wire.EXIT,
    ]
    assert client.frames[0].replica == 3
    feed(client, first)
    assert client.frames[0].replica == -1


@pytest.mark.parametrize("text", [" model : Å , ", "水", "é" * 40, "a"])
@pytest.mark.parametrize("in_characters", [True, False])
@pytest.mark.parametrize("cut", [1, None])
def test_length_of_init_may_be_in_characters_or_bytes(text, in_characters, cut):
    data = text.encode()
    length = len(text) if in_characters else len(data)
    client = wire.ClientConnection(structure())
    message = wire.INIT + struct.pack("=ii", 1, length) + data + wire.STATUS
    assert feed(client, message, cut) == [wire.INIT, wire.STATUS]
    assert client.parameters == text


def test_fill_of_a_batch_is_not_computed_twice():
    server, client = wire.ServerConnection(ATOMS, 4), wire.ClientConnection(structure())
    feed(client, server.init(0))
    frames = [structure(0), structure(1), structure(1), structure(1)]
    feed(client, joined(server.positions(frames)))
    assert len(client.frames) == 2
    client.set_results([outcome(0), outcome(1, note="x")])
    feed(server, joined(client.forces()))
    assert [result.extras for result in server.results] == [{}, {"note": "x"}, {"note": "x"}, {"note": "x"}]
    np.testing.assert_array_equal(server.results[3].forces, server.results[1].forces)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_structures_that_are_not_finite_are_refused(value):
    for field in ("positions", "cell"):
        frame = structure()
        getattr(frame, field)[1, 1] = value
        with pytest.raises(ProtocolError, match=r"nan|inf"):
            feed(wire.ClientConnection(structure()), joined(wire.ServerConnection(ATOMS).positions([frame])))


def test_singular_cell_is_refused_along_periodic_directions_only():
    template, flat = structure(), structure()
    flat.cell[2] = 0.0
    message = joined(wire.ServerConnection(ATOMS).positions([flat]))
    with pytest.raises(ProtocolError, match="singular"):
        feed(wire.ClientConnection(template), message)
    template.pbc = np.array([True, True, False])
    assert feed(wire.ClientConnection(template), message) == [wire.POSDATA, wire.GETFORCE]


def test_inbox_is_not_allocated_again():
    server, client = wire.ServerConnection(ATOMS), wire.ClientConnection(structure())
    feed(client, server.init(0))
    before = client._inbox.ctypes.data, client.frames[0].positions.ctypes.data
    for seed in range(20):
        feed(client, joined(server.positions([structure(seed)])), cut=100 + seed)
        client.set_results([outcome(seed)])
        client.forces()
        np.testing.assert_allclose(client.frames[0].positions, structure(seed).positions, rtol=1e-15)
    assert (client._inbox.ctypes.data, client.frames[0].positions.ctypes.data) == before


def test_the_codec_is_imported_without_potentials():
    """Some of them are clients themselves, and import it."""
    code = "import sys, forceserver.ipi.wire; sys.exit('forceserver.potentials' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
