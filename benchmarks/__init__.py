"""Side by side with the peers, on the machine at hand: `python -m benchmarks` (or `make bench`) prints the tables.

A suite is a module of this folder with a function

    def tables(quick: bool) -> Iterator[Table]

whose docstring says what is measured. `quick` asks for fewer sizes and rounds (seconds instead of minutes). A suite
runs its contenders in interleaved rounds (`harness.rounds`), leaves out a peer that is not installed and says so in the
table's note. Nothing is asserted here; tests live in tests/.
"""
