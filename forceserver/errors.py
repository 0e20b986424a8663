"""Errors that a user can act on. Their text names the thing, the value and the remedy."""


class ForceServerError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code = 1


class InputError(ForceServerError):
    """A file, an option or a configuration is wrong; nothing has been started."""

    exit_code = 2


class ProtocolError(ForceServerError):
    """The peer sent something that the protocol does not allow; the connection must be closed."""

    exit_code = 2


class PotentialError(ForceServerError):
    """A potential could not compute a frame, or returned something that must not be sent."""


class BiasError(ForceServerError):
    """A bias cannot be computed: a collective variable is not a number or has left the range of the bias."""


class CVError(ForceServerError):
    """A collective variable could not be computed for a frame."""


def text_of(error: BaseException) -> str:
    """What an error says; torch appends the frames of its C++ code, which help nobody who reads a log."""
    return str(error).partition("\nException raised from")[0].strip()
