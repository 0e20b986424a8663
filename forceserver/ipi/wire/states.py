"""The client's side of the conversation as one table: what may happen in which state, and what the state is then.

Servers differ: i-PI sends POSDATA and GETFORCE together, ASE asks for the status in between. So the client takes
everything in any order; the one thing that cannot be is GETFORCE before any POSDATA. docs/protocol.md shows the table.
"""

from enum import Enum

from . import messages
from .messages import EXIT, GETFORCE, INIT, POSDATA, STATUS


class State(Enum):
    """Where a client stands.

    after: what the state is after an event; what is not in it cannot happen, or is refused.
    answer: what is answered to STATUS.
    """

    NEEDINIT = "wants INIT before the next structure"
    READY = "wants a structure"
    RECEIVING = "has a part of INIT or POSDATA, and has forgotten what was there before"
    COMPUTING = "has structures, which lie in the inbox, and no results"
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
    RECEIVING: messages.READY,  # never asked: nothing is read behind a message that is incomplete or refused
    COMPUTING: messages.READY,  # only after results that were refused: never HAVEDATA
    HAVEDATA: messages.HAVEDATA,
}

for _state in State:  # on the way of every message: an attribute is found faster than a key
    _state.after, _state.answer = TRANSITIONS[_state], ANSWERS[_state]
