"""What is cut from i-PI's outputs when it goes on, file by file."""

from pathlib import Path

import pytest

from forceserver.errors import InputError
from forceserver.ipi.input import IpiInput, PlumedForceField, PropertiesFile
from forceserver.ipi.outputs import cut_outputs


def state(folder: Path, step: int, **changes) -> IpiInput:
    fields = dict.fromkeys(IpiInput.__dataclass_fields__, ())
    path = folder / "RESTART"
    return IpiInput(
        **{**fields, "path": path, "folder": folder, "step": step, "total_steps": 100, "prefix": "sim", **changes}
    )


FRAME = {
    "sim.pos_0.xyz": "2\n# CELL(abcABC): 1 1 1  Step: {n:10d}  Bead:       0 positions{{a}}\nAl 0 0 {n}\nAl 1 1 1\n",
    "sim.pos.pdb": "TITLE      Step: {n:10d}  Bead:       0 positions\nCRYST1\nATOM\nATOM\nEND\n",
    "sim.pos_1.extxyz": '2\nLattice="1" ipi_comment="Step: {n:10d}  Bead:  0 " pbc="T T T"\nAl 0 0 {n}\nAl 1 1 1\n',
    "sim.pos_0": " #EXTRAS(x)# Step: {n:10d}  \n1.0\n2\n32\n",
}


@pytest.mark.parametrize("name", FRAME)
@pytest.mark.parametrize("complete", [True, False])
def test_frames_after_the_state_are_cut(tmp_path, name, complete):
    frames = [FRAME[name].format(n=n) for n in range(5)]
    path = tmp_path / name
    path.write_text("".join(frames) + ("" if complete else FRAME[name].format(n=5)[:-3]))
    assert cut_outputs(state(tmp_path, 4, trajectories=((tmp_path / "sim.pos", 1),))) == []
    assert path.read_text() == "".join(frames)
    cut_outputs(state(tmp_path, 2, trajectories=((tmp_path / "sim.pos", 1),)))
    assert path.read_text() == "".join(frames[:3])


@pytest.mark.parametrize("tail", ["3", "32\n", "32\n# CELL(abc", "32\n# CELL Step: 9 Bead\nAl 0 0 0\nAl 1"])
def test_half_a_frame_is_cut(tmp_path, tail):
    frames = "".join(FRAME["sim.pos_0.xyz"].format(n=n) for n in range(4))
    (tmp_path / "sim.pos_0.xyz").write_text(frames + tail)
    cut_outputs(state(tmp_path, 3, trajectories=((tmp_path / "sim.pos", 1),)))
    assert (tmp_path / "sim.pos_0.xyz").read_text() == frames


def test_a_damaged_file_is_named_and_nothing_is_cut(tmp_path):
    rows = "# column   1     --> step : x\n0\n1\n2\n3\n"
    (tmp_path / "out").write_text(rows)
    frames = [FRAME["sim.pos_0.xyz"].format(n=n) for n in range(4)]
    (tmp_path / "sim.pos_0.xyz").write_text(frames[0] + "\0" * 50 + frames[1] + frames[2])
    given = state(
        tmp_path,
        2,
        properties=(PropertiesFile(tmp_path / "out", 1, ("step",)),),
        trajectories=((tmp_path / "sim.pos", 1),),
    )
    with pytest.raises(InputError, match=f"sim.pos_0.xyz is damaged at byte {len(frames[0])}"):
        cut_outputs(given)
    assert (tmp_path / "out").read_text() == rows


def test_the_column_of_steps_is_found_behind_others(tmp_path):
    head = "# cols.    1-3    --> dipole : x\n# column   4     --> step : the step\n"
    rows = [f"0 9 9 {n}\n" for n in range(5)]
    (tmp_path / "out").write_text(head + "".join(rows) + "0 0 0")
    cut_outputs(state(tmp_path, 2, properties=(PropertiesFile(tmp_path / "out", 1, ("dipole", "step")),)))
    assert (tmp_path / "out").read_text() == head + "".join(rows[:3])


@pytest.mark.parametrize(("stride", "kept"), [(1, 8), (2, 4), (5, 2)])
def test_rows_without_steps_are_counted(tmp_path, stride, kept):
    rows = [f"{n}.5\n" for n in range(20)]
    (tmp_path / "out").write_text("# column   1     --> potential\n" + "".join(rows) + "7.")
    cut_outputs(state(tmp_path, 7, properties=(PropertiesFile(tmp_path / "out", stride, ("potential",)),)))
    assert (tmp_path / "out").read_text() == "# column   1     --> potential\n" + "".join(rows[:kept])


@pytest.mark.parametrize(("before", "now"), [(3, 9), (3, 1)])
def test_rows_without_steps_are_not_cut_when_their_stride_was_changed(tmp_path, before, now):
    """By their number, 14 of 22 rows would be of later steps, but the simulation never came to those."""
    potential = PropertiesFile(tmp_path / "out", now, ("potential",))
    steps = PropertiesFile(tmp_path / "steps", 5, ("step",))
    (tmp_path / "steps").write_text("# column   1     --> step\n" + "".join(f"{n}\n" for n in range(0, 66, 5)))
    rows = "# column   1     --> potential\n" + "".join(f"{n}.5\n" for n in range(0, 64, before))
    (tmp_path / "out").write_text(rows + "6.")
    said = cut_outputs(state(tmp_path, 63, properties=(steps, potential)))
    assert (tmp_path / "out").read_text() == rows
    assert len(said) == 1
    assert f"out has 22 rows, of which {63 // now + 1} should be of steps to 63 (stride {now}): " in said[0]


def test_outputs_that_were_taken_away_are_told(tmp_path):
    """Compressed, moved or removed before a restart: what they have after the state is written a second time."""
    properties = (PropertiesFile(tmp_path / "out", 1, ("step",)),)
    (tmp_path / "sim.pos_0.xyz.gz").touch()
    said = cut_outputs(state(tmp_path, 3, properties=properties, trajectories=((tmp_path / "sim.pos", 1),)))
    assert [text.split(" is not there: ")[0] for text in said] == [str(tmp_path / "out"), str(tmp_path / "sim.pos")]
    assert "after step 3 is written again" in said[0]


def test_rows_that_a_killed_ipi_had_in_memory_are_missed_aloud(tmp_path):
    (tmp_path / "out").write_text("# column   1     --> step\n" + "".join(f"{n}\n" for n in range(0, 41, 10)))
    said = cut_outputs(state(tmp_path, 65, properties=(PropertiesFile(tmp_path / "out", 10, ("step",)),)))
    assert len(said) == 1
    assert "ends at step 40, the state is at step 65" in said[0]
    assert cut_outputs(state(tmp_path, 49, properties=(PropertiesFile(tmp_path / "out", 10, ("step",)),))) == []


def test_swaps_of_replicas_and_tables_of_plumed_are_cut(tmp_path):
    """A swap is written down with the number of the step that is being done; PLUMED counts as i-PI does."""
    (tmp_path / "sim.PARATEMP").write_text("".join(f"{n:10d}     1     0\n" for n in range(6)))
    (tmp_path / "plumed.dat").write_text(
        "d: DISTANCE ATOMS=1,2\nREAD FILE=old VALUES=d\nMETAD ARG=d\nINCLUDE FILE=print.dat\n"
        "DUMPGRID FILE=grid\n# PRINT FILE=comment\n"
    )
    (tmp_path / "print.dat").write_text("PRINT ...\n  ARG=d\n  FILE={a cv}\n... PRINT\n")
    table = "#! FIELDS time d\n" + "".join(f" {n}.000000 0.5\n" for n in range(6)) + "#! FIELDS time d\n 6.0 1\n 7."
    for name in ("a cv", "HILLS", "comment", "old"):
        (tmp_path / name).write_text(table)
    (tmp_path / "grid").write_text("#! FIELDS d g\n 1 2\n")
    said = cut_outputs(
        state(
            tmp_path,
            3,
            swaps=(tmp_path / "sim.PARATEMP",),
            plumed=(PlumedForceField("hills", tmp_path / "plumed.dat", 3, True),),
        )
    )
    assert [line.split()[0] for line in (tmp_path / "sim.PARATEMP").read_text().splitlines()] == ["0", "1", "2"]
    for name in ("comment", "old"):  # what PLUMED does not write
        assert (tmp_path / name).read_text() == table
    for name in ("a cv", "HILLS"):
        assert (tmp_path / name).read_text() == "#! FIELDS time d\n" + "".join(f" {n}.000000 0.5\n" for n in range(4))
    assert len(said) == 1
    assert "grid (PLUMED) does not record steps" in said[0]


@pytest.mark.parametrize(
    ("rows", "said"), [([], "is empty"), ([5, 10], "ends at step 10"), ([5, 10, 15, 20], None), ([20, 30], None)]
)
def test_rows_that_plumed_had_in_memory_are_missed_aloud(tmp_path, rows, said):
    (tmp_path / "plumed.dat").write_text("METAD ARG=d PACE=5")
    (tmp_path / "HILLS").write_text("#! FIELDS time d\n" * bool(rows) + "".join(f"{n}.0 1\n" for n in rows))
    texts = cut_outputs(state(tmp_path, 23, plumed=(PlumedForceField("hills", tmp_path / "plumed.dat", 23, True),)))
    assert len(texts) == (said is not None)
    assert all(f"HILLS {said}, the state is at step 23" in text for text in texts)


@pytest.mark.parametrize(("unit", "times"), [("fs", 1e3), ("ns", 1e-3), ("atomic", 1 / 2.4188843e-5), ("0.5", 2.0)])
def test_tables_of_plumed_are_in_its_unit_of_time(tmp_path, unit, times):
    """A step of i-PI is 1 ps for PLUMED: in fs all hills were cut, in ns none (those of repeated steps doubled)."""
    (tmp_path / "plumed.dat").write_text(f"UNITS LENGTH=A TIME={unit}\nMETAD ARG=d PACE=5\n")
    rows = [f" {n * times:.6f} 0.5\n" for n in range(5, 41, 5)]
    (tmp_path / "HILLS").write_text("#! FIELDS time d\n" + "".join(rows))
    plumed = (PlumedForceField("hills", tmp_path / "plumed.dat", 23, True),)
    assert cut_outputs(state(tmp_path, 23, plumed=plumed)) == []
    assert (tmp_path / "HILLS").read_text() == "#! FIELDS time d\n" + "".join(rows[:4])


@pytest.mark.parametrize(("step", "skipped"), [(24, True), (25, False)])
def test_a_hill_that_plumed_will_not_add_is_told(tmp_path, step, skipped):
    (tmp_path / "plumed.dat").write_text("d: DISTANCE ATOMS=1,2\nm: METAD ARG=d PACE=5 FILE=none\nMETAD ARG=d PACE=@p")
    texts = cut_outputs(state(tmp_path, step, plumed=(PlumedForceField("hills", tmp_path / "plumed.dat", step, True),)))
    assert len(texts) == skipped
    assert all(f"METAD of {tmp_path / 'plumed.dat'} will have no hill of step 25: " in text for text in texts)


def test_files_of_no_output_stay_as_they_are(tmp_path):
    (tmp_path / "sim.pos_summary").write_text("Step: 9 \n")
    (tmp_path / "sim.pos_0.xyz.bak").write_text("Step: 9 \n")
    cut_outputs(state(tmp_path, 3, trajectories=((tmp_path / "sim.pos", 1),)))
    assert (tmp_path / "sim.pos_summary").read_text() == "Step: 9 \n"
    assert (tmp_path / "sim.pos_0.xyz.bak").read_text() == "Step: 9 \n"


def test_a_state_of_step_0_has_no_outputs(tmp_path):
    (tmp_path / "out").write_text("# column   1     --> step\n0\n1\n")
    cut_outputs(state(tmp_path, 0, properties=(PropertiesFile(tmp_path / "out", 1, ("step",)),)))
    assert (tmp_path / "out").read_text().endswith("1\n")
