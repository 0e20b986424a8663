"""What a bias has done, on disk: one owner of its clock, its deposits (HILLS) and its rows (COLVAR).

    begin(fingerprint)   a configuration has come in: a new one, the current one, or one to which the engine went back
    deposit(numbers)     what the current configuration leaves behind; it is on disk when this returns
    commit(fingerprint)  the configuration is the current one now
    replay()             what is on disk, where the clock stands: at every start, and after a return

The order on disk is deposit, row, clock. A deposit acts from the configuration after its own on, so it is written when
that one comes, and HILLS may be one deposit ahead of the clock: if the step was interrupted there, `deposit` finds it
and writes none. Everything else that is later than the clock is taken back by `replay`.
"""

from .fingerprint import fingerprint_of
from .journal import Arrival, Journal, KeptFile
from .recent_steps import RecentSteps

__all__ = ["Arrival", "Journal", "KeptFile", "RecentSteps", "fingerprint_of"]
