"""Mistakes that i-PI accepts, planted into what `init` writes; nothing is started here."""

from types import SimpleNamespace

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixBondLength, FixCartesian

from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.ipi.driver import DriverConfig
from forceserver.ipi.input import read_ipi_input
from forceserver.ipi.rehearsal import rehearse
from forceserver.launch.changes import changes
from forceserver.new_simulation import Start, write_start
from forceserver.potentials.pair import PairConfig
from forceserver.preflight.answers import ask
from forceserver.preflight.findings import ADVICE, WRONG
from forceserver.preflight.rehearsal import (
    inspect_float_format,
    inspect_folders,
    inspect_tags,
    inspect_vacuum,
    inspect_volume,
)
from forceserver.preflight.speed import inspect_deadline
from forceserver.preflight.structures import inspect_fixed, inspect_structure
from forceserver.structures import read_structure

MANUAL = "<cell mode='manual' units='angstrom'>[{}]</cell><velocities"
BIAS = "<ensemble><bias><force forcefield='force'/></bias>"
BAROSTAT = "</thermostat><barostat mode='isotropic'><tau units='femtosecond'> 250 </tau></barostat>"


LANGEVIN = "<thermostat mode='langevin'><tau units='femtosecond'> 100 </tau></thermostat>"
HEATING = "<thermostat mode='gle'><A shape='(2,2)'> [1e-3, 1e-4, 1e-4, {}e-3] </A></thermostat>"
MOTION = "<motion mode='dynamics'>"
COVARIANCE = (
    "<thermostat mode='gle'><A shape='(2,2)'> [1e-3, 1e-4, -1e-4, 1e-3] </A>"
    "<C shape='(2,2)' {0}> [{1}, 0, 0, {1}] </C></thermostat>"
)
VIBRATIONS = "<motion mode='vibrations'><vibrations mode='fd'><pos_shift> {} </pos_shift></vibrations>"
EXCHANGES = "<motion mode='{0}'><{0}><names> [ {1} ] </names></{0}>"
REMD = "<smotion mode='remd'><remd><stride>{}</stride></remd></smotion><prng>"


def copper():
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions[0] += 0.1
    return atoms


def planted(folder, old="", new="", atoms=None):
    """The path of an input of `init`, with something replaced."""
    write_start(folder, atoms or copper(), 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"', Start())
    text = (folder / "input.xml").read_text()
    assert old in text
    (folder / "input.xml").write_text(text.replace(old, new))
    return folder / "input.xml"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("femtosecond'> 1 <", "femtosecond'> 0 <", "a <timestep> of 0 fs: it must be positive"),
        ("femtosecond'> 1 <", "femtosecond'> -1 <", "a <timestep> of -1 fs"),
        ("<thermostat mode='langevin'>", "<thermostat mode='gle'>", "<ThermoGLE> cannot do a step: IndexError"),
        ("<dynamics mode='nvt'>", "<dynamics mode='scnpt'>", "<Dynamics> cannot do a step: AttributeError"),
        ("</timestep>", "</timestep><nmts>[0]</nmts>", "<nmts> of <dynamics> is [0]: every level needs one step"),
        ("<checkpoint stride='200'", "<checkpoint stride='0'", "<checkpoint filename='checkpoint'> has a stride of 0"),
        (MOTION, VIBRATIONS.format(0), "<vibrations> has a <pos_shift> of 0 bohr: it must be positive"),
        ("<simulation ", "<simulation safe_stride='0' ", "<simulation safe_stride='0'>: it must be positive"),
        (
            MOTION,
            EXCHANGES.format("alchemy", "Cu, Ag"),
            "<alchemy> exchanges atoms of Cu, Ag, of which the system has only",
        ),
        (MOTION, EXCHANGES.format("atomswap", "Ag, Au"), "of which the system has none: <names> needs two labels"),
    ],
)
def test_what_cannot_run(tmp_path, old, new, problem):
    assert problem in " ".join(rehearse(planted(tmp_path, old, new)).problems)


@pytest.mark.parametrize(("partner", "told"), [("Cu", False), ("Co", True)])
def test_a_potential_between_other_species_only(tmp_path, partner, told):
    """The atoms flew apart, and `check` found nothing."""
    pair = {"form": "lennard_jones", "species": ["Cu", partner], "epsilon_ev": 0.1, "sigma_angstrom": 2.3}
    section = PairConfig(kind="pair", interactions=[{**pair, "cutoff_angstrom": 5.0, "smoothing_angstrom": 1.0}])
    configuration = SimpleNamespace(potential=section, socket=None, cv=[], bias=None)
    findings = ask(configuration, Frame.from_ase(copper()), tmp_path).findings
    assert any("energy and forces of the template are zero" in finding.text for finding in findings) is told


@pytest.mark.parametrize(("labels", "problem"), [("Cu Ag", "<alchemy> exchanges the labels and"), ("H D", "")])
def test_only_isotopes_are_exchanged_by_their_labels(tmp_path, labels, problem):
    """Drivers do not hear of it, and `--restart` finds other species."""
    first, second = labels.split()
    rows = [f"{label} {i}.0 0.0 {i % 2}.0" for i, label in enumerate([first, second, first, second])]
    (tmp_path / "labels.xyz").write_text("\n".join(["4", "# CELL(abcABC): 9 9 9 90 90 90", *rows]) + "\n")
    path = planted(tmp_path, MOTION, EXCHANGES.format("alchemy", f"{first}, {second}"))
    path.write_text(path.read_text().replace("mode='ase'> start.extxyz", "mode='xyz'> labels.xyz"))
    problems = [text for text in rehearse(path).problems if "alchemy" in text]
    assert len(problems) == bool(problem)
    assert problem in " ".join(problems)


@pytest.mark.parametrize(
    ("old", "new", "doubt"),
    [
        (
            "<velocities",
            "<masses mode='manual'> [63,63,63,63] </masses><velocities",
            "atom 0 (Cu) has a mass of 0.0346 u",
        ),
        ("mode='nvt'", "mode='nve'", "<dynamics mode='nve'> has a <thermostat>, which has no effect"),
        ("</thermostat>", BAROSTAT, "<dynamics mode='nvt'> has a <barostat>, which has no effect"),
        (
            "</ensemble>",
            "<pressure> 1e-4 </pressure></ensemble>",
            "<pressure>, which has no effect: <dynamics mode='nvt'> keeps the volume",
        ),
        ("forcefield='force'/", "forcefield='force' weight='-1'/", "the only <force> has a weight of -1: energies and"),
        ("<dynamics", "<fixatoms> [0,1,2,3] </fixatoms><dynamics", "<motion> fixes every atom: nothing will move"),
        (
            "[ step,",
            "[ step, kinetic_md(H),",
            "no atom has the label or number of a property, which i-PI gives as zero",
        ),
        ("kelvin'> 300 </temp", "kelvin'> 0 </temp", "the temperature is 0 K: the thermostat only takes energy away"),
        ("mode='nvt'", "mode='nvt-cc'", "<dynamics mode='nvt-cc'> fixes the centroid, and there is one bead"),
        ("='force'/", "='force' nbeads='4'/", "nbeads='4'> has no effect, since the system has 1 bead: <initialize"),
        (LANGEVIN, HEATING.format(-1), "<A> of the thermostat has an eigenvalue with the real part -0.001: it heats"),
        (LANGEVIN, HEATING.format(1), None),
        (
            LANGEVIN,
            COVARIANCE.format("", "300"),
            "<C> of the thermostat is that of 9.473e+07 K; temperature times beads",
        ),
        (
            LANGEVIN,
            COVARIANCE.format("units='kelvin'", "100"),
            "is that of 100 K; temperature times beads is 300 K: was",
        ),
        (LANGEVIN, COVARIANCE.format("units='kelvin'", "300"), None),
        ("='force'/", "='force'><mts_weights>[0.5]</mts_weights></force", "of the force field 'force' add up to 0.5"),
        ("<prng>", REMD.format(5), "<smotion mode='remd'> has one system: there is nothing to exchange"),
        ("<prng>", REMD.format(0), "<smotion mode='remd'> has a <stride> of 0: nothing is exchanged"),
        ("<ensemble>", BIAS, "'force' is in <forces> and in <bias>: its forces act twice"),
        ("<ensemble>", f"{BIAS}<bias_weights>[0.0]</bias_weights>", None),
        ("<velocities", "<masses mode='manual' units='dalton'> [65,65,63,63] </masses><velocities", None),
    ],
)
def test_what_is_hardly_meant(tmp_path, old, new, doubt):
    doubts = rehearse(planted(tmp_path, old, new)).doubts
    assert doubt in " ".join(doubts) if doubt else not doubts


def test_a_first_step_that_ends_in_infinity(tmp_path):
    path = planted(tmp_path, "nbeads='1'", "nbeads='4'")
    pile = "<thermostat mode='pile_g'><pile_lambda>-1</pile_lambda>"
    path.write_text(path.read_text().replace("<thermostat mode='langevin'>", pile))
    (problem,) = rehearse(path).problems
    assert problem.startswith("<dynamics mode='nvt'>: positions or momenta are not finite after the first step")


def test_an_ipi_that_exits_in_its_first_step(tmp_path):
    """With an odd number of beads for Suzuki and Chin i-PI calls exit(), which ended `check` with code 0."""
    path = planted(tmp_path, "nbeads='1'", "nbeads='3'")
    path.write_text(path.read_text().replace("mode='nvt'", "mode='sc'").replace("mode='langevin'", "mode='pile_l'"))
    assert "cannot do a step: SystemExit: !W! ERROR: Suzuki-Chin" in rehearse(path).problems[-1]


def test_zero_forces_of_a_rehearsal_are_no_fault(tmp_path):
    """i-PI, unless it is quiet, ends at a stress of zero; here it stands for one that is not known."""
    path = planted(tmp_path, "nbeads='1'", "nbeads='4'")
    barostat = BAROSTAT.replace("isotropic", "sc-isotropic")
    changes = {
        "mode='nvt'": "mode='scnpt'",
        "mode='langevin'": "mode='pile_l'",
        "</thermostat>": barostat,
        "</ensemble>": "<pressure> 1e-4 </pressure></ensemble>",
    }
    text = path.read_text()
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    assert not rehearse(path).problems


def doubts_of(path, *changes):
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return " ".join(rehearse(path).doubts)


def test_systems_that_write_to_the_same_files(tmp_path):
    """i-PI renames the files of one system when it opens those of the next."""
    path = planted(tmp_path)
    system = path.read_text().partition("<system>")[2].partition("</system>")[0]
    again = (f"<system>{system}</system>", f"<system>{system}</system><system>{system}</system>")
    assert "2 systems have no prefix, so all write to the same files" in doubts_of(path, again)
    assert not doubts_of(path, (f"{system}</system><system>", f"{system}</system><system prefix='other'>"))


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (("[1, 0]", "[-1, 1]"), ""),
        (("[1, 0]", "[1, 1]"), "<mts_weights> of the force field 'cheap' add up to 2"),
        (("[1, 0]", "[-1, 0]"), "<mts_weights> of the force field 'cheap' add up to -1"),
    ],
)
def test_levels_that_do_not_add_up_to_one_potential(tmp_path, weights, told):
    forces = [
        f"<force forcefield='{name}'><mts_weights>{numbers}</mts_weights></force>"
        for name, numbers in zip(("force", "cheap"), weights, strict=True)
    ]
    cheap = "<fflj name='cheap' pbc='False'><parameters> { sigma: 3.0, eps: 1e-4 } </parameters></fflj>\n  <system>"
    said = doubts_of(
        planted(tmp_path),
        ("<force forcefield='force'/>", "".join(forces)),
        ("<system>", cheap),
        ("</timestep>", "</timestep><nmts>[1, 4]</nmts>"),
    )
    assert said.startswith(told) if told else not said


def test_levels_of_a_contracted_ring_polymer_add_up(tmp_path):
    """Taken off a contraction and put onto all beads: each of the two <force> was told of by itself."""
    parts = ("force' nbeads='2", "1, 0"), ("cheap' nbeads='2", "-1, 0"), ("cheap", "0, 1")
    forces = [f"<force forcefield='{name}'><mts_weights>[{levels}]</mts_weights></force>" for name, levels in parts]
    cheap = "<fflj name='cheap' pbc='False'><parameters> { sigma: 3.0, eps: 1e-4 } </parameters></fflj>\n  <system>"
    assert not doubts_of(
        planted(tmp_path, "nbeads='1'", "nbeads='4'"),
        ("mode='langevin'", "mode='pile_l'"),
        ("<force forcefield='force'/>", "".join(forces)),
        ("<system>", cheap),
        ("</timestep>", "</timestep><nmts>[1, 4]</nmts>"),
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("%12.3f", "floatformat='%12.3f' changes 0.000950043 Hartree, 300 K, into 0.001: states have it, too"),
        ("%d", "into 0: states have it, too"),
        ("%q", "floatformat='%q' makes no number"),
        ("%16.8e", ""),
    ],
)
def test_a_format_in_which_states_are_lost(tmp_path, written, said):
    """RESTART had a temperature of 0.001 Hartree, 316 K, and went on with it."""
    text = " ".join(
        finding.text for finding in inspect_float_format(read_ipi_input(planted(tmp_path, "%25.17e", written)))
    )
    assert said in text if said else not text


def test_a_file_exit_is_found_before_launch_refuses_it(tmp_path):
    path = planted(tmp_path)
    assert not list(inspect_folders(read_ipi_input(path)))
    (tmp_path / "EXIT").touch()
    (finding,) = inspect_folders(read_ipi_input(path))
    assert finding.verdict is WRONG
    assert "EXIT would end i-PI at once" in finding.text


@pytest.mark.parametrize(("limit", "told"), [(0.5, True), (10, False), (None, False)])
def test_a_deadline_that_the_potential_does_not_meet(limit, told):
    findings = list(inspect_deadline(DriverConfig(evaluation_deadline_seconds=limit), 2.0))
    assert [finding.verdict for finding in findings] == [ADVICE] * told
    assert not list(inspect_deadline(DriverConfig(evaluation_deadline_seconds=0.5), None))


@pytest.mark.parametrize(("kelvin", "told"), [(300, True), (360, False)])
def test_an_exchange_of_what_is_equal(tmp_path, kelvin, told):
    path = planted(tmp_path)
    head, _, tail = path.read_text().partition("<system>")
    inside, end, rest = tail.partition("</system>")
    other = inside.replace("kelvin'> 300 </temp", f"kelvin'> {kelvin} </temp")
    text = f"{head}<system prefix='a'>{inside}{end}<system prefix='b'>{other}{end}{rest}"
    path.write_text(text.replace("<prng>", REMD.format(5)))
    doubts = " ".join(rehearse(path).doubts)
    assert ("exchanges systems of the same temperature, pressure and weights" in doubts) is told


def test_a_barostat_that_runs_backwards(tmp_path):
    write_start(tmp_path, copper(), 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"', Start(ensemble="npt"))
    path = tmp_path / "input.xml"
    head, barostat, tail = path.read_text().partition("<barostat mode='isotropic'>")
    path.write_text(head + barostat + tail.replace("> 250 <", "> -250 <", 1))
    assert "the <barostat> has a <tau> of -250 fs: it must be positive" in rehearse(path).problems


def test_the_virial_of_an_atom_alone_is_zero(tmp_path):
    """It is no sign of a potential without stress."""
    atoms = Atoms("Cu", cell=[20, 20, 20], pbc=True)
    start = Start(ensemble="npt")
    write_start(tmp_path, atoms, 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"', start)
    ipi = read_ipi_input(tmp_path / "input.xml")
    (finding,) = inspect_volume(ipi, rehearse(ipi.path), ipi.sockets[0])
    assert finding.verdict == ADVICE


def test_fixed_atoms_move_with_the_cell(tmp_path):
    write_start(
        tmp_path, copper(), 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"', Start(ensemble="npt", beads=1)
    )
    fixed = ("<motion mode='dynamics'>", "<motion mode='dynamics'><fixatoms>[0]</fixatoms>")
    assert doubts_of(tmp_path / "input.xml", fixed).startswith(
        "<dynamics mode='npt'> moves the atoms that <motion> fixes"
    )


def test_a_simulation_that_starts_at_rest_and_stays_cold(tmp_path):
    thermal = ("<velocities mode='thermal' units='kelvin'> 300 </velocities>", "")
    write_start(tmp_path, copper(), 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"', Start(ensemble="nve"))
    assert not doubts_of(tmp_path / "input.xml")
    assert doubts_of(tmp_path / "input.xml", thermal).startswith("<dynamics mode='nve'> starts at rest: <velocities")


def test_a_pes_file_that_is_not_there(tmp_path):
    direct = "<ffdirect name='d'><pes>custom</pes><pes_path>nowhere.py</pes_path></ffdirect><system>"
    with pytest.raises(InputError, match=r"<ffdirect name='d'>: there is no file 'nowhere.py' \(<pes_path>\)"):
        rehearse(planted(tmp_path, "<system>", direct))


NO_CHECKPOINT = "there is no <checkpoint> in <output>"


@pytest.mark.parametrize(
    ("old", "new", "verdict", "told"),
    [
        ("<motion mode", "<motion mode='minimize'/><motion mode", WRONG, "<system> has 2 <motion>"),
        ("<total_steps>", "<total_steps>7</total_steps><total_steps>", WRONG, "<simulation> has 2 <total_steps>"),
        ("<prng>", "<smotion mode='dummy'/><smotion mode='remd'/><prng>", WRONG, "<simulation> has 2 <smotion>"),
        ("<tau", "<tau>3</tau><tau>4</tau><tau", WRONG, "<thermostat> has 3 <tau>"),
        (
            "<motion mode='dynamics'",
            "<motion mode='minimize'",
            ADVICE,
            "<motion mode='minimize'> does not use its <dynamics>",
        ),
        ("checkpoint stride", "trajectory stride", ADVICE, NO_CHECKPOINT),
        ("</output>", "<checkpoint stride='9' filename='third'/></output>", None, ""),
        ("<motion mode='dynamics'>", "<motion mode='dynamics'><fixcom>False</fixcom>", None, ""),
    ],
)
def test_tags_that_say_something_in_vain(tmp_path, old, new, verdict, told):
    """i-PI takes the last one in silence: of 300 K and 500 K, say, or a thermostat and none."""
    found = list(inspect_tags(read_ipi_input(planted(tmp_path, old, new))))
    assert [finding.verdict for finding in found] == [verdict] * bool(told)
    assert all(finding.text.startswith(told) for finding in found)


@pytest.mark.parametrize(("mass", "timestep", "told"), [("1.008", 4, True), ("1.008", 2, False), ("3.024", 4, False)])
def test_a_time_step_too_long_for_hydrogen(tmp_path, mass, timestep, told):
    atoms = molecule("H2O", vacuum=5)
    masses = f"<masses mode='manual' units='dalton'> [16, {mass}, {mass}] </masses><velocities"
    path = planted(tmp_path, "<velocities", masses, atoms)
    said = doubts_of(path, ("femtosecond'> 0.5 <", f"femtosecond'> {timestep} <"))
    assert ("the time step is 4 fs, and atom 1 has the mass of hydrogen" in said) is told


@pytest.mark.parametrize(("units", "told"), [("", "0.529 times"), (" units='angstrom'", None)])
def test_positions_of_a_file_without_a_unit(tmp_path, units, told):
    """The cell has one, so only the positions are too small, by the bohr in Å."""
    file = f"<file mode='xyz'{units}> plain.xyz </file><cell mode='abc' units='angstrom'> [3.6, 3.6, 3.6] </cell>"
    path = planted(tmp_path, "<file mode='ase'> start.extxyz </file>", file)
    copper().write(tmp_path / "plain.xyz", format="xyz")
    found = advice(path, copper())
    assert told in found["distances"] if told else not found


@pytest.mark.parametrize(
    ("pbc", "hfix", "along"),
    [("TTT", "", None), ("TTF", "", "c"), ("FFF", "", "a, b, c"), ("TTF", "<hfix>[zz]</hfix>", None)],
)
def test_a_cell_that_changes_where_nothing_is_periodic(tmp_path, pbc, hfix, along):
    atoms = copper()
    path = planted(
        tmp_path, "</thermostat>", BAROSTAT.replace("isotropic", "flexible").replace("</bar", f"{hfix}</bar")
    )
    path.write_text(
        path.read_text()
        .replace("mode='nvt'", "mode='npt'")
        .replace("</ensemble>", "<pressure> 1e-4 </pressure></ensemble>")
    )
    atoms.pbc = [letter == "T" for letter in pbc]
    texts = [finding.text for finding in inspect_vacuum(Frame.from_ase(atoms), rehearse(path))]
    assert len(texts) == bool(along)
    assert all(f"changes the cell along {along}, where" in text for text in texts)


def advice(path, atoms):
    (system,) = read_ipi_input(path).systems
    found = inspect_structure(Frame.from_ase(atoms), system, None)
    return {finding.what: finding.text for finding in found if finding.verdict.name != "OK"}


def test_a_cell_with_vectors_as_rows_is_told(tmp_path):
    """i-PI takes the upper triangle, with vectors as columns, and drops the rest without a word."""
    hexagonal = bulk("Zn", "hcp", a=2.6, c=4.9)
    rows, columns = (", ".join(f"{x:.9f}" for x in cell.ravel()) for cell in (hexagonal.cell, hexagonal.cell.T))
    found = advice(planted(tmp_path / "rows", "<velocities", MANUAL.format(rows), hexagonal), hexagonal)
    assert "the angles are 90 90 90 in i-PI, 90 90 120 in the template" in found["cell"]
    assert not advice(planted(tmp_path / "columns", "<velocities", MANUAL.format(columns), hexagonal), hexagonal)


def test_a_structure_that_ipi_turns_is_told(tmp_path):
    primitive = bulk("Cu", "fcc", a=3.6)
    assert "x, y and z of variables" in advice(planted(tmp_path / "a", atoms=primitive), primitive)["axes"]
    assert not advice(planted(tmp_path / "b"), copper())


@pytest.mark.parametrize(
    ("constraint", "tag", "fixed"),
    [
        (FixAtoms([0, 2]), "<fixatoms> [0, 2] </fixatoms>", {0, 1, 2, 6, 7, 8}),
        (FixCartesian(1, mask=(True, False, True)), "<fixatoms_dof> [3, 5] </fixatoms_dof>", {3, 5}),
    ],
)
def test_fixed_atoms_stay_fixed(tmp_path, constraint, tag, fixed):
    """Selective dynamics of a POSCAR, say: i-PI does not read them from the structure."""
    atoms = copper()
    atoms.set_constraint(constraint)
    path = planted(tmp_path, atoms=atoms)
    assert tag in path.read_text()
    (system,) = rehearse(path).systems
    assert system.fixed == fixed
    assert not read_structure(tmp_path / "start.extxyz").constraints
    assert not list(inspect_fixed(atoms, system.fixed))
    (finding,) = inspect_fixed(atoms, frozenset())
    assert "fixes" in finding.text


def test_constraints_that_ipi_does_not_have_are_refused(tmp_path):
    atoms = copper()
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(InputError, match=r"a constraint FixBondLength.*, which i-PI does not have"):
        planted(tmp_path, atoms=atoms)
    primitive = bulk("Cu", "fcc", a=3.6)
    primitive.set_constraint(FixCartesian(0, mask=(True, False, False)))
    with pytest.raises(InputError, match="a constraint FixCartesian, which i-PI does not have in these axes"):
        planted(tmp_path, atoms=primitive)


def test_what_was_changed_in_an_input_that_a_restart_does_not_read(tmp_path):
    """The user believes in 500 K, i-PI goes on at 300."""
    state = read_ipi_input(planted(tmp_path / "state"))
    same = read_ipi_input(planted(tmp_path / "same"))
    assert not list(changes(state, same))
    other = planted(tmp_path / "other", "<temperature units='kelvin'> 300", "<temperature units='kelvin'> 500")
    other.write_text(
        other.read_text()
        .replace("femtosecond'> 1 <", "femtosecond'> 2 <")
        .replace("stride='10' filename", "stride='5' filename")
        .replace("<motion mode='dynamics'>", "<motion mode='dynamics'><fixatoms> [1] </fixatoms>")
    )
    assert list(changes(state, read_ipi_input(other))) == [
        "1 as time step (fs), input.xml for 2",
        "300 as temperature (K), input.xml for 500",
        "none as fixed degrees of freedom, input.xml for [3, 4, 5]",
        "another output out.properties (columns or stride) than input.xml",
    ]
