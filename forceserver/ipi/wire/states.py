"""The client's side of the conversation as one table: what may happen in which state, and which state follows.

Servers differ: i-PI sends POSDATA and GETFORCE together, ASE asks for the status in between. So the client accepts
messages in any order; only GETFORCE before any POSDATA is impossible. docs/protocol.md shows the table.
"""

from enum import Enum

from . import messages
from .messages import EXIT, GETFORCE, INIT, POSDATA, STATUS


class State(Enum):
    """Where a client stands.

    after: the state that follows an event; events that are not in it cannot happen, or are rejected.
    answer: the answer to STATUS.
    """

    NEEDINIT = "wants INIT before the next structure"
    READY = "wants a structure"
    RECEIVING = "has a part of INIT or POSDATA, and has dropped what it had before"
    COMPUTING = "has structures, which are in the inbox, and no results"
    HAVEDATA = "has results"

    after: dict[bytes, "State"]
    answer: bytes


NEEDINIT, READY, RECEIVING, COMPUTING, HAVEDATA = State

# Events besides whole messages.
BEGIN = b"INIT or POSDATA begins"
RESULTS = b"set_results()"
SENT = b"forces()"
SENT_WANTING_INIT = b"forces() if wants_init"

TRANSITIONS = {
    NEEDINIT: {STATUS: NEEDINIT, BEGIN: RECEIVING, EXIT: NEEDINIT},
    READY: {STATUS: READY, BEGIN: RECEIVING, EXIT: READY},
    RECEIVING: {BEGIN: RECEIVING, INIT: READY, POSDATA: COMPUTING},
    COMPUTING: {STATUS: COMPUTING, BEGIN: RECEIVING, GETFORCE: COMPUTING, RESULTS: HAVEDATA, EXIT: COMPUTING},
    HAVEDATA: {
        STATUS: HAVEDATA,
        BEGIN: RECEIVING,
        GETFORCE: HAVEDATA,
        SENT: READY,
        SENT_WANTING_INIT: NEEDINIT,
        EXIT: HAVEDATA,
    },
}

ANSWERS = {
    NEEDINIT: messages.NEEDINIT,
    READY: messages.READY,
    RECEIVING: messages.READY,  # never asked: nothing is read after a message that is incomplete or rejected
    COMPUTING: messages.READY,  # only after rejected results: never HAVEDATA
    HAVEDATA: messages.HAVEDATA,
}

for _state in State:  # used for every message: an attribute is found faster than a key
    _state.after, _state.answer = TRANSITIONS[_state], ANSWERS[_state]
