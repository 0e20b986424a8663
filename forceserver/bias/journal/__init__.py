"""The record of a bias on disk: one owner of its clock, its deposits (HILLS) and its rows (COLVAR).

    begin(fingerprint)   a configuration arrives: a new one, the current one, or one to which the engine went back
    deposit(numbers)     writes the deposit of the current configuration, which is on disk when this returns
    commit(fingerprint)  makes the configuration the current one
    replay()             the deposits up to the clock: at every start, and after the engine went back

The order on disk is deposit, row, clock. A deposit acts from the next configuration on, so it is written when that one
arrives, and HILLS may be one deposit ahead of the clock: if the step was interrupted there, `deposit` finds it and
writes none. Everything else that is later than the clock is undone by `replay`.
"""

from .fingerprint import fingerprint_of
from .journal import Arrival, Journal, KeptFile
from .recent_steps import RecentSteps, last_step

__all__ = ["Arrival", "Journal", "KeptFile", "RecentSteps", "fingerprint_of", "last_step"]
