"""Errors that a user can act on. The message names the thing, the value and the remedy."""

FAILURES = (Exception, SystemExit, GeneratorExit)
"""What code of others raises when it has failed; `sys.exit` in a calculator would end a command in silence."""


class ForceServerError(Exception):
    """Base class of all errors that end a command with a message instead of a traceback.

    Attributes:
        exit_code: exit code of a command that ends with this error: 1; 2 for a wrong input, 4 for a structure of which
            a potential is too uncertain.
    """

    exit_code = 1


class InputError(ForceServerError):
    """A file, an option or a configuration is wrong; nothing has been started."""

    exit_code = 2


class ProtocolError(ForceServerError):
    """The peer broke the protocol; the connection must be closed."""

    exit_code = 2


class PotentialError(ForceServerError):
    """A potential could not compute a frame, or returned a result that must not be sent."""


class UntrustedError(ForceServerError):
    """A potential is too uncertain of a structure: the simulation is to end there, and nothing to be tried again."""

    exit_code = 4


class BiasError(ForceServerError):
    """A bias cannot be computed: a collective variable is NaN or has left the range of the bias."""


class CVError(ForceServerError):
    """A collective variable could not be computed for a frame."""


def shortened(value: object, longest: int = 80) -> str:
    """A value as in code, on one line of at most `longest` characters, for messages."""
    text = " ".join(repr(value).split())
    return text if len(text) <= longest else text[: longest - 3] + "..."


def text_of(error: BaseException) -> str:
    """The message of an error, without the C++ stack frames that torch appends, which only clutter a log."""
    try:
        text = str(error)
    except Exception:  # somebody else's error, with a mistake of its own
        text = "(its message cannot be printed)"
    return text.partition("\nException raised from")[0].strip()


def described(error: BaseException, ours: type[ForceServerError] = ForceServerError) -> str:
    """The message of an error; behind the name of its type, unless it is one of `ours`, which say all themselves."""
    return str(error) if isinstance(error, ours) else f"{type(error).__name__}: {text_of(error)}"
