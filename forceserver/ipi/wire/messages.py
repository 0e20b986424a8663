"""The words of the protocol, and the messages that carry text: INIT, and the names of shared-memory segments.

A reader gets what has been received from the beginning of a message on, and returns the message or, if it is
incomplete, the least number of bytes that it will have.
"""

import codecs
import struct
from collections.abc import Sequence
from typing import NamedTuple

from ...errors import ProtocolError
from .limits import Limits

HEADER_BYTES = 12

STATUS, INIT, POSDATA, GETFORCE, EXIT = SERVER_MESSAGES = (
    b"STATUS      ",
    b"INIT        ",
    b"POSDATA     ",
    b"GETFORCE    ",
    b"EXIT        ",
)
READY, NEEDINIT, HAVEDATA, FORCEREADY = CLIENT_MESSAGES = (
    b"READY       ",
    b"NEEDINIT    ",
    b"HAVEDATA    ",
    b"FORCEREADY  ",
)

SEGMENTS = b"SEGMENTS"
"""Not on the wire: `ClientConnection.next_message` returns it when shared memory must be attached first."""

SEGMENT_KINDS = ("pos", "h", "ih", "pot", "force", "vir")
MAX_SEGMENT_NAME = 255

Buffers = list[bytes | memoryview]

HEADER = struct.Struct("=12s")
INT = struct.Struct("=i")
_INIT = struct.Struct("=12sii")


class Init(NamedTuple):
    """What INIT says, and how many bytes it took."""

    replica: int
    parameters: str
    batch: int
    size: int


def pack_strings(strings: Sequence[bytes]) -> bytes:
    """Each string, preceded by its length."""
    return b"".join(INT.pack(len(string)) + string for string in strings)


def write_init(replica: int, parameters: str, batch: int) -> bytes:
    """INIT with the batch size appended as i-PI does; the length is in bytes."""
    if batch > 1:
        parameters += f"{',' if parameters.strip() else ''} batch_size:{batch}"
    text = parameters.encode()
    return _INIT.pack(INIT, replica, len(text)) + text


def read_init(data: memoryview, limits: Limits) -> Init | int:
    """INIT, or how many bytes are needed. Raises `ProtocolError` for impossible lengths, texts and batch sizes."""
    if len(data) < _INIT.size:
        return _INIT.size
    _, replica, length = _INIT.unpack_from(data)
    limits.check_length(length, "INIT string")
    text = _read_text(data[_INIT.size :], length, limits)
    if isinstance(text, int):
        return _INIT.size + text
    try:
        parameters = text.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(text) from error
    return Init(replica, parameters, _announced_batch(parameters, limits), _INIT.size + len(text))


def _read_text(data: memoryview, length: int, limits: Limits) -> bytes | int:
    """The text of INIT.

    i-PI announces the length in characters but sends UTF-8, others announce bytes. They differ only if there are
    characters beyond ASCII; then the header that must follow INIT tells which it was.
    """
    if len(data) < length:
        return length
    text = bytes(data[:length])
    if text.isascii():
        return text
    if len(data) < length + HEADER_BYTES:
        return length + HEADER_BYTES
    if bytes(data[length : length + HEADER_BYTES]) in SERVER_MESSAGES:
        return text
    return _read_characters(data, length, limits)


def _read_characters(data: memoryview, count: int, limits: Limits) -> bytes | int:
    """The first `count` characters, as bytes."""
    decoder, characters, size = codecs.getincrementaldecoder("utf-8")(), 0, 0
    while characters < count:
        needed = size + count - characters  # every missing character is at least one byte
        limits.check_length(needed, "INIT string")
        if len(data) < needed:
            return needed
        try:
            characters += len(decoder.decode(data[size:needed]))
        except UnicodeDecodeError as error:
            raise _not_utf8(bytes(data[:count])) from error
        size = needed
    return bytes(data[:size])


def _not_utf8(text: bytes) -> ProtocolError:
    return ProtocolError(f"the INIT string is not UTF-8: {text[:16]!r}")


def _announced_batch(parameters: str, limits: Limits) -> int:
    for token in parameters.split(","):
        key, colon, value = token.partition(":")
        if colon and key.strip() == "batch_size":
            return limits.check_batch(value)
    return 1


def read_segment_names(data: memoryview) -> tuple[list[str], int] | None:
    """The six names, with the number of bytes that they take; `None` if they are incomplete.

    Raises `ProtocolError` for impossible names.
    """
    at, names = 0, []
    for _ in SEGMENT_KINDS:
        if len(data) < at + INT.size:
            return None
        (length,) = INT.unpack_from(data, at)
        if not 0 < length <= MAX_SEGMENT_NAME:
            raise ProtocolError(f"name of a shared-memory segment of {length} bytes: must be 1 to {MAX_SEGMENT_NAME}")
        at += INT.size
        if len(data) < at + length:
            return None
        name = bytes(data[at : at + length])
        if not name.isascii() or b"/" in name or b"\0" in name:
            raise ProtocolError(f"the server sent {name[:16]!r} as the name of a shared-memory segment")
        names.append(name.decode())
        at += length
    return names, at
