"""Mistakes that people make, planted one by one: each is found before anything starts, and named."""

import ase.io
import pytest

from forceserver.ipi.input import read_ipi_input
from forceserver.ipi.rehearsal import rehearse
from forceserver.preflight.plumed import inspect_plumed_in_ipi

SOCKET = "<ffsocket name='al' mode='unix'><address>al</address><latency>0</latency></ffsocket>"
SIMULATION = {  # what is replaced in i-PI's input, by what, and what is said
    "force field that does not exist": ("<force forcefield='al'/>", "<force forcefield='la'/>", "'la'"),
    "force field called twice": ("<system>", f"{SOCKET}<system>", "two force fields are called 'al'"),
    "one address for two sockets": ("<system>", SOCKET.replace("name='al'", "name='b'") + "<system>", "two <ffsocket>"),
    "port without a number": ("<address>al</address>", "<address>al</address><port>x</port>", "'x'"),
    "bias that does not exist": ("</temperature>", "</temperature><bias><force forcefield='b'/></bias>", "'b'"),
    "no forces": ("<forces><force forcefield='al'/></forces>", "", "forces"),
    "property that i-PI does not know": ("[ step,", "[ step, presure_md,", "presure_md"),
    "unit of a property": ("potential{electronvolt}", "potential{electronwolt}", "electronwolt"),
    "unit of another dimension": ("potential{electronvolt}", "potential{angstrom}", "angstrom"),
    "trajectory that i-PI does not know": ("positions{angstrom}", "postions{angstrom}", "postions"),
    "unit of a trajectory": ("positions{angstrom}", "positions{angstroem}", "angstroem"),
    "format of a trajectory": ("format='xyz'", "format='zyx'", "zyx"),
    "bead that does not exist": ("stride='1' format", "stride='1' bead='7' format", "bead index 7"),
    "unit of a cell": ("cell_units='angstrom'", "cell_units='angst'", "angst"),
    "filename used twice": ("filename='pos'", "filename='out'", "filename 'out'"),
    "constant pressure without a barostat": ("mode='nve'", "mode='npt'", "barostat"),
    "constant temperature without a thermostat": ("mode='nve'", "mode='nvt'", "thermostat"),
    "ensemble that does not exist": ("mode='nve'", "mode='nvd'", "nvd"),
    "motion that does not exist": ("motion mode='dynamics'", "motion mode='dinamics'", "dinamics"),
    "no time step": ("<timestep units='femtosecond'> 1 </timestep>", "<timestep> 1 </timestep>", "0.02419 fs"),
    "time step of a picosecond": ("units='femtosecond'> 1", "units='picosecond'> 1", "the time step is 1000 fs"),
    "unit that does not exist": ("units='femtosecond'", "units='femptosecond'", "femptosecond"),
    "time step in kelvin": ("units='femtosecond'", "units='kelvin'", "kelvin"),
    "temperature without a unit": ("<temperature units='kelvin'>", "<temperature>", "the temperature is 9.473e+07 K"),
    "velocities without a unit": ("mode='thermal' units='kelvin'", "mode='thermal'", "the initial temperature is"),
    "levels of multiple time steps": (" 1 </timestep>", " 1 </timestep><nmts>[1,4]</nmts>", "mts"),
    "weights of levels": (
        "<force forcefield='al'/>",
        "<force forcefield='al'><mts_weights>[1,0]</mts_weights></force>",
        "",
    ),
    "fixed atoms out of range": (
        "<motion mode='dynamics'>",
        "<motion mode='dynamics'><fixatoms>[32]</fixatoms>",
        "atom",
    ),
    "atoms of a socket out of range": ("</address>", "</address><activelist>[31,32]</activelist>", "32"),
    "extras that nobody sends": (
        "<trajectory filename='pos'",
        "<trajectory filename='d' stride='1' extra_type='dipole'> extras </trajectory><trajectory filename='pos'",
        "wants 'dipole', which 'al' does not send",
    ),
    "extras to be averaged that nobody sends": (
        "<force forcefield='al'/>",
        "<force forcefield='al'><interpolate_extras>[dipole]</interpolate_extras></force>",
        "wants 'dipole'",
    ),
    "extras of a bias that is none": (
        "<trajectory filename='pos'",
        "<trajectory filename='d' stride='1' extra_type='x'> extras_bais </trajectory><trajectory filename='pos'",
        "extras_bais",
    ),
    "parameters of a force field": (
        "<system>",
        "<fflj name='lj' pbc='False'><parameters> { sigma: 3.0, epsilon: 1e-4 } </parameters></fflj><system>",
        "KeyError: 'eps'",
    ),
    "periodic force field that is not": (
        "<system>",
        "<fflj name='lj' pbc='True'><parameters> { sigma: 3.0, eps: 1e-4 } </parameters></fflj><system>",
        "Periodic boundary conditions are not supported",
    ),
    "file that does not exist": ("al.extxyz", "la.extxyz", "la.extxyz"),
    "format of the file": ("mode='ase'> al", "mode='pdb'> al", "i-PI does not accept it"),
    "tag that does not exist": ("<total_steps>5</total_steps>", "<total_step>5</total_step>", "total_step"),
    "negative latency": ("<latency>0", "<latency>-1", "<latency> of 'al' is -1 s: i-PI would wait for ever"),
    "tag that does not end": ("</system>", "", "not accept"),
    "number that is none": ("<total_steps>5", "<total_steps>five", "five"),
    "seed that is none": ("31415", "pi", "pi"),
    "prefix of sockets": ("sockets_prefix='", "sockets_prefix='/tmp", "but i-PI listens"),
    "batches of several messages": (
        "<latency>0</latency>",
        "<batch_size>2</batch_size><consolidate_messages>False</consolidate_messages>",
        "batch",
    ),
    "metadynamics with a bias that is none": (
        "<system>",
        "<smotion mode='metad'><metad><metaff>[hills]</metaff></metad></smotion><system>",
        "<metaff> names 'hills'",
    ),
}
EMT = 'kind = "ase"\ncalculator = "ase.calculators.emt.EMT"'
LAMMPS = 'kind = "lammps"\nspecies = ["Al"]\n'
CV = '[[cv]]\nname = "d"\ncentres = "Al"\nneighbours = "Al"\nweights = [1.0]\n'
CV += 'basis = { kind = "gto", n_max = 1, l_max = 1, cutoff = { cutoff_angstrom = 4.0, width_angstrom = 0.5 }, '
CV += 'density = { kind = "gaussian", sigma_angstrom = 0.4 } }\n'
CONFIGURATION = {
    "no potential": (f"[potential]\n{EMT}", "", "section [potential] is missing"),
    "module that does not exist": ("ase.calculators.emt.EMT", "mase.calculators.emt.EMT", "mase"),
    "class that does not exist": ("emt.EMT", "emt.MET", "MET"),
    "function that is no calculator": ("ase.calculators.emt.EMT", "ase.build.bulk", "bulk"),
    "argument of another kind": ('emt.EMT"', 'lj.LennardJones"\narguments = { rc = "far" }', "LennardJones"),
    "calculator that lacks the element": ("emt.EMT", "qmmm.SimpleQMMM", "SimpleQMMM"),
    "model file that does not exist": (EMT, 'kind = "gap"\nmodel = "al.npz"', "al.npz"),
    "extra that the calculator lacks": ('emt.EMT"', 'emt.EMT"\nextras = ["dipole"]', "dipole"),
    "species missing in pair_coeff": (
        EMT,
        LAMMPS + 'commands = ["pair_style lj/cut 5.0"]',
        "pair",
    ),
    "pair style that does not exist": (
        EMT,
        LAMMPS + 'commands = ["pair_style jl/cut 5", "pair_coeff * * 1 2"]',
        "jl/cut",
    ),
    "species that LAMMPS is not told of": (
        EMT,
        LAMMPS.replace("Al", "Cu") + 'commands = ["pair_style lj/cut 5", "pair_coeff * * 0.01 2.5"]',
        "Al",
    ),
    "energies of LAMMPS in another unit": (
        EMT,
        LAMMPS + 'commands = ["pair_style lj/cut 8", "pair_coeff * * 100.0 3.8"]',
        "the largest force on the template is",
    ),
    "units of LAMMPS": (
        EMT,
        LAMMPS + 'units = "metall"\ncommands = ["pair_style lj/cut 5", "pair_coeff * * 0.01 2.5"]',
        "metall",
    ),
    "potential file of LAMMPS": (
        EMT,
        LAMMPS + 'commands = ["pair_style eam/alloy", "pair_coeff * * absent.eam Al"]',
        "absent.eam",
    ),
    "section that does not exist": ("[socket]", "[sockets]", "did you mean 'socket'"),
    "key that does not exist": ("calculator", "calculater", "did you mean 'calculator'"),
    "template that does not exist": ('file = "al.extxyz"', 'file = "la.extxyz"', "la.extxyz"),
    "variable without neighbours": (
        "[socket]",
        CV.replace('neighbours = "Al"', 'neighbours = "Cu"') + "[socket]",
        "no atom of species",
    ),
    "output that is there twice": ("[socket]", CV + 'outputs = ["x", "x"]\n[socket]', "'x' occurs twice"),
    "centre that is there twice": ("[socket]", CV + "per_centre = [3, 3]\n[socket]", "3 occurs twice"),
    "server of variables in no folder": (
        "[socket]",
        CV + '[cv_server]\naddress = "/nowhere/at/all"\n[socket]',
        "there is no folder /nowhere",
    ),
    "fewer atoms than there are": ("[socket]", "[driver]\nmax_atoms = 31\n[socket]", "driver.max_atoms = 31"),
    "port that is text": ('mode = "unix"', 'mode = "inet"\nport = "31415"', "valid integer"),
    "port that is true": ('mode = "unix"', 'mode = "inet"\nport = true', "valid integer"),
    "path that is too long": ("al.extxyz", "x" * 5000, "File name too long"),
    "relative path of a calculator": ("ase.calculators.emt.EMT", ".emt.EMT", "is not a dotted path"),
    "axis of no length": ("[socket]", CV + "axes = { a = [0, 0, 0] }\n[socket]", "a"),
    "PLUMED without a kernel": (
        "[socket]",
        CV + '[bias]\nengine = "plumed"\nplumed_dat = "al.extxyz"\ntime_step_fs = 1\n[socket]',
        "PLUMED_KERNEL=/nowhere/libplumedKernel.so: there is no such file",
    ),
    "bias on a variable that is none": (
        "[socket]",
        CV + '[bias]\nengine = "metadynamics"\ntime_step_fs = 1\n[[bias.variables]]\nname = "e_x"\n'
        '[[bias.restraints]]\nvariable = "e_x"\nat = 0\nkappa_eV = 1\n[socket]',
        "e_x",
    ),
}


def found(case) -> str:
    """What is said; the exit code must be 2, or there is advice."""
    run = case.run_here("check", case.config)
    said = " ".join((run.stdout + run.stderr).split())
    assert run.returncode == 2 or "advice dynamics" in said or "advice potential" in said, said
    assert "Traceback" not in said
    assert not [path.name for path in case.folder.iterdir() if path.name.startswith(("sim", "HILLS", "COLVAR", "BIAS"))]
    return said


@pytest.mark.parametrize("mistake", SIMULATION)
def test_in_the_input_of_ipi(aluminium, mistake):
    old, new, message = SIMULATION[mistake]
    aluminium.write_simulation(old=old, new=new)
    assert message in found(aluminium)


@pytest.mark.parametrize("mistake", CONFIGURATION)
def test_in_the_configuration(aluminium, mistake, monkeypatch):
    old, new, message = CONFIGURATION[mistake]
    aluminium.write_config(old, new)
    monkeypatch.setenv("PLUMED_KERNEL", "/nowhere/libplumedKernel.so")
    assert message in found(aluminium)


def test_a_socket_in_no_folder(aluminium):
    aluminium.write_config('address = "al"', 'address = "no/al"')
    aluminium.write_simulation(old="<address>al", new="<address>no/al")
    assert "s_no in which this user may create it" in found(aluminium)


def test_batches_that_the_driver_does_not_take(aluminium):
    aluminium.write_config("[socket]", "[driver]\nmax_batch = 7\n[socket]")
    aluminium.write_simulation(beads=8, old="</address>", new="</address><batch_size>8</batch_size>")
    assert "driver.max_batch = 7 is less than the 8 structures of <batch_size>" in found(aluminium)


def test_a_volume_that_changes_without_a_virial(aluminium):
    """i-PI warns and goes on: the cell expands like a gas."""
    aluminium.write_config('emt.EMT"', 'emt.EMT"\nstress = "zero"')
    barostat = "<barostat mode='isotropic'><tau units='femtosecond'> 250 </tau></barostat></dynamics>"
    aluminium.write_simulation(old="</dynamics>", new=barostat)
    path = aluminium.folder / "input.xml"
    pressure = "</temperature><pressure units='gigapascal'> 0 </pressure>"
    path.write_text(path.read_text().replace("mode='nve'", "mode='npt'").replace("</temperature>", pressure))
    assert "its virial is zero, but Dynamics npt changes the volume by it" in found(aluminium)
    aluminium.write_config()
    assert "its virial is zero" not in aluminium.run_here("check", aluminium.config).stdout


def test_without_an_input_of_ipi_the_rest_is_computed(aluminium):
    aluminium.write_config('[simulation]\ninput = "input.xml"', "")
    said = " ".join(aluminium.run_here("check", aluminium.config).stdout.split())
    assert "has no section [simulation]" in said
    assert "ok potential template 0.279871 eV" in said
    aluminium.config.write_text(aluminium.config.read_text().replace("emt.EMT", "emt.MET"))
    assert "MET" in found(aluminium)


def test_what_ipi_understood_is_shown(aluminium):
    aluminium.write_simulation(beads=4)
    said = " ".join(aluminium.run_here("check", aluminium.config).stdout.split())
    assert "ok dynamics Dynamics nve, 4 beads, time step 1 fs, temperature 300 K, initial temperature" in said


def test_what_ipi_accepts_and_few_mean(aluminium):
    """Advice, for each of it is meant by somebody."""
    aluminium.write_simulation()
    path = aluminium.folder / "input.xml"
    text = path.read_text()
    for old, new in (
        ("kelvin'> 300 </velocities>", "kelvin'> 3000 </velocities>"),
        (
            "<force forcefield='al'/>",
            "<force forcefield='al'/><force forcefield='al'/><force forcefield='al' weight='0'/>",
        ),
        ("<dynamics mode='nve'>", "<dynamics mode='nvt'><thermostat mode='langevin'><tau> 100 </tau></thermostat>"),
        ("<latency>0</latency>", "<latency>10</latency><timeout>1e-6</timeout>"),
        ("<total_steps>5<", "<total_steps>0<"),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    run = aluminium.run_here("check", aluminium.config)
    said = " ".join(run.stdout.split())
    assert run.returncode == 0, said
    assert "K, the temperature is 300 K: are both meant?" in said
    assert "advice forces two <force> of one system use the force field 'al': its forces are added up" in said
    assert "advice forces the <force> with the force field 'al' has weight 0" in said
    assert "the tau of the thermostat is 2.419 fs for i-PI: is units='femtosecond' missing" in said
    assert "<latency> is 10 s: i-PI looks for forces that often only" in said
    assert "<timeout> is 1e-06 s, and the potential took" in said
    assert "there is nothing to do" in said


def test_lines_for_programs_have_no_blanks_at_their_ends(aluminium):
    aluminium.write_simulation()
    lines = aluminium.run_here("check", aluminium.config, "--no-compute").stdout.splitlines()
    assert len(lines) > 3
    assert [line for line in lines if line != line.rstrip()] == []


def test_batches_of_a_contracted_ring_polymer(aluminium):
    """Two structures a step of eight beads; EMT computes them one by one."""
    aluminium.write_simulation(beads=8, old="<force forcefield='al'/>", new="<force forcefield='al' nbeads='2'/>")
    said = " ".join(aluminium.run_here("check", aluminium.config).stdout.split())
    assert "2 structures a step, 1 driver(s), batches of 1: <batch_size>2</batch_size>" in said
    assert "it computes them one by one, so that only messages are saved" in said


BEC = "</timestep><bec mode='driver'/></driven_dynamics>"
BECX = "> becx </trajectory><trajectory filename='x' stride='1' format='xyz' cell_units='angstrom'> positions{a"


def test_born_charges_that_the_driver_has_to_send(aluminium):
    """i-PI asks for them in its first step. `check` must not miss them in its own rehearsal, where nobody computes."""
    aluminium.write_simulation()
    path = aluminium.folder / "input.xml"
    text = path.read_text().replace("mode='dynamics'", "mode='driven_dynamics'").replace("</timestep></dynamics>", BEC)
    text = text.replace("<dynamics mode='nve'>", "<driven_dynamics mode='eda-nve'>").replace("> positions{a", BECX)
    path.write_text(text)
    said = " ".join(aluminium.run_here("check", aluminium.config).stdout.split())
    assert said.count("wrong ") == 1
    assert "wrong extras <bec mode='driver'> wants 'BEC', which 'al' does not send; it sends none" in said


def test_extras_that_a_contraction_drops(aluminium):
    """i-PI runs into a KeyError at its first output."""
    aluminium.write_config('emt.EMT"', 'emt.EMT"\nextras = ["energies"]')
    force = "<force forcefield='al' nbeads='1'>{}</force>"
    wanted = "<trajectory filename='e' stride='1' extra_type='energies'> extras </trajectory></output>"
    for interpolated, verdict in (("", True), ("<interpolate_extras>[energies]</interpolate_extras>", False)):
        aluminium.write_simulation(beads=2, old="<force forcefield='al'/>", new=force.format(interpolated))
        path = aluminium.folder / "input.xml"
        path.write_text(path.read_text().replace("</output>", wanted))
        run = aluminium.run_here("check", aluminium.config)
        assert (
            "i-PI drops 'energies' of 'al', since the force has nbeads='1' and the system 2"
            in " ".join(run.stdout.split())
        ) is verdict
        assert run.returncode == (2 if verdict else 0), run.stdout


def test_a_template_in_another_order(aluminium):
    atoms = ase.io.read(aluminium.folder / "al.extxyz")
    atoms.symbols[0] = "Cu"
    atoms[::-1].write(aluminium.folder / "template.extxyz")
    atoms.write(aluminium.folder / "al.extxyz")
    aluminium.write_config('file = "al.extxyz"', 'file = "template.extxyz"')
    assert "same atoms in another order" in found(aluminium)


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d: DISTANCE ATOMS=1,33\nRESTRAINT ARG=d AT=3 KAPPA=1\n", "33"),
        ("d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=e AT=3 KAPPA=1\n", "e"),
        ("d: DISTENCE ATOMS=1,2\n", "DISTENCE"),
        ("e: EXTRACV NAME=nobody\nRESTRAINT ARG=e AT=3 KAPPA=1\n", "no variable offers EXTRACV NAME=nobody"),
    ],
)
def test_in_the_input_of_plumed(aluminium, text, message):
    (aluminium.folder / "plumed.dat").write_text(text)
    aluminium.write_config(
        "[socket]", '[bias]\nengine = "plumed"\nplumed_dat = "plumed.dat"\ntime_step_fs = 1\n[socket]'
    )
    said = found(aluminium)
    assert "wrong bias" in said
    assert message in said


PLUMED_IN_IPI = """<ffplumed name='hills'>
<file mode='ase'>al.extxyz</file><plumed_dat>plumed.dat</plumed_dat>
</ffplumed>
<smotion mode='metad'><metad><metaff>[hills]</metaff></metad></smotion>
<system>"""


@pytest.mark.plumed
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file"),
        ("d: DISTANCE ATOMS=1,33\nRESTRAINT ARG=d AT=3 KAPPA=1\n", "33"),
        ("d: DISTANCE ATOMS=1,2\nMETAD ARG=e SIGMA=1 HEIGHT=1 PACE=10\n", "e"),
        ("d: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=10\n", None),
    ],
)
def test_plumed_in_ipi(aluminium, text, message):
    if text:
        (aluminium.folder / "plumed.dat").write_text(text)
    bias = "</temperature><bias><force forcefield='hills' nbeads='1'/></bias>"
    aluminium.write_simulation(old="</temperature>", new=bias)
    simulation = (aluminium.folder / "input.xml").read_text().replace("<system>", PLUMED_IN_IPI)
    (aluminium.folder / "input.xml").write_text(simulation)
    run = aluminium.run_here("check", aluminium.config)
    if message is None:
        assert "PLUMED reads plumed.dat" in run.stdout
        assert run.returncode == 0, run.stdout
    else:
        assert "<ffplumed name='hills'>" in run.stdout
        assert message in run.stdout.split("<ffplumed name='hills'>")[1]
        assert run.returncode == 2
    assert not (aluminium.folder / "HILLS").exists()


@pytest.mark.parametrize(
    ("action", "temperature", "updated", "told"),
    [
        ("METAD ARG=d SIGMA=1 HEIGHT=1 PACE=10 BIASFACTOR=9 TEMP={}", 300, True, ""),
        ("METAD ARG=d SIGMA=1 HEIGHT=1 PACE=10 BIASFACTOR=9 TEMP={}", 500, True, "TEMP of METAD is 500, and i-PI's"),
        ("METAD ARG=d SIGMA=1 HEIGHT=1 PACE=10 BIASFACTOR=9 TEMP={}", 300, False, "PLUMED will add no hills"),
        ("RESTRAINT ARG=d AT=1 KAPPA=1", 300, False, ""),
        ("RESTRAINT ARG=d AT=1 KAPPA=1\nPRINT ARG=d FILE=COLVAR", 300, False, "PLUMED will write nothing (PRINT)"),
        ("RESTRAINT ARG=d AT=1 KAPPA=1\nPRINT ARG=d FILE=COLVAR", 300, True, ""),
    ],
)
def test_what_ipi_and_its_plumed_do_not_know_of_each_other(aluminium, action, temperature, updated, told):
    """Without <smotion mode='metad'> i-PI never updates PLUMED, and says nothing."""
    (aluminium.folder / "plumed.dat").write_text(f"d: DISTANCE ATOMS=1,2\n{action.format(temperature)}\n")
    bias = "</temperature><bias><force forcefield='hills' nbeads='1'/></bias>"
    aluminium.write_simulation(old="</temperature>", new=bias)
    path = aluminium.folder / "input.xml"
    text = path.read_text().replace("<system>", PLUMED_IN_IPI)
    path.write_text(
        text if updated else text.replace("metad", "dummy").replace("<dummy><metaff>[hills]</metaff></dummy>", "")
    )
    ipi = read_ipi_input(path)
    texts = " ".join(finding.text for finding in inspect_plumed_in_ipi(ipi, rehearse(path)))
    assert told in texts if told else not texts


@pytest.mark.parametrize(("temperature", "told"), [(300, False), (500, False), (400, True)])
def test_replica_exchange_with_a_bias_for_each_temperature(aluminium, temperature, told):
    """Every system has the biases of all of them, most with a weight of zero."""
    metad = f"d: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=10 BIASFACTOR=9 TEMP={temperature}\n"
    (aluminium.folder / "plumed.dat").write_text(metad)
    bias = "</temperature><bias><force forcefield='hills' nbeads='1'/></bias>"
    aluminium.write_simulation(old="</temperature>", new=bias)
    path = aluminium.folder / "input.xml"
    head, system, tail = path.read_text().replace("<system>", PLUMED_IN_IPI).partition("<system>")
    system += tail.replace("</simulation>", "")
    warm = system.replace("<system>", "<system prefix='warm'>").replace("> 300 <", "> 500 <")
    path.write_text(f"{head}{system}{warm}</simulation>")
    assert bool(list(inspect_plumed_in_ipi(read_ipi_input(path), rehearse(path)))) is told


@pytest.mark.plumed
def test_a_bias_of_plumed_that_works_leaves_no_file(aluminium):
    text = "d: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=0.1 HEIGHT=1 PACE=1 FILE=HILLS\nPRINT ARG=d FILE=COLVAR\n"
    (aluminium.folder / "plumed.dat").write_text(text)
    aluminium.write_config(
        "[socket]", '[bias]\nengine = "plumed"\nplumed_dat = "plumed.dat"\ntime_step_fs = 1\n[socket]'
    )
    before = sorted(path.name for path in aluminium.folder.iterdir())
    run = aluminium.run_here("check", aluminium.config)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "extras bias_eV" in run.stdout
    assert sorted(path.name for path in aluminium.folder.iterdir()) == before


def test_a_bias_that_nobody_receives_is_told(aluminium):
    bias = (
        CV
        + """[bias]
engine = "metadynamics"
time_step_fs = 1
variables = [{ name = "d_x" }]
restraints = [{ variable = "d_x", at = 0, kappa_eV = 1 }]
"""
    )
    aluminium.write_config("[socket]", bias + "[socket]")
    said = " ".join(aluminium.run_here("check", aluminium.config).stdout.split())
    assert "advice bias [bias] has no [bias_socket]: no force field of i-PI will receive it, unless by ipi-pes" in said


BIASED = """</temperature><bias><force forcefield='bias'{}/></bias>"""
BIAS_SOCKET = SOCKET.replace("al", "bias")
RESTRAINT = 'variables = [{ name = "d_x", hills = false }]\nrestraints = [{ variable = "d_x", at = 0, kappa_eV = 1 }]\n'
HILLS = """variables = [{ name = "d_x", sigma = 0.1 }]
hills = { height_eV = 0.01, pace_steps = 10, temperature_K = 310, bias_factor = 10, grid = "none" }
"""

MULTITHERMAL = """variables = [{ name = "potential_energy" }]
multithermal = { temperature_K = 310, highest_K = 600, temperatures = 4, pace_steps = 10 }
"""


def write_bias(case, bias: str, time_step_fs: float, beads: int, nbeads: str, systems: int = 1) -> None:
    """A bias behind a socket of its own, in the configuration and in i-PI's input."""
    engine = "opes" if "multithermal" in bias else "metadynamics"
    sections = f'[bias]\nengine = "{engine}"\ntime_step_fs = {time_step_fs}\n{bias}'
    case.write_config(
        "[socket]", f'{CV}{sections}\n[bias_socket]\naddress = "bias"\nprefix = "{case.prefix}"\n[socket]'
    )
    case.write_simulation(beads=beads, old="</temperature>", new=BIASED.format(nbeads))
    path = case.folder / "input.xml"
    head, system, tail = path.read_text().partition("<system>")
    path.write_text(head + BIAS_SOCKET + (system + tail.replace("</simulation>", "")) * systems + "</simulation>")


@pytest.mark.parametrize(
    ("bias", "beads", "nbeads", "systems", "verdict", "message"),
    [
        (HILLS, 4, "", 1, "wrong", "'bias' gets 4 structures a step, of beads"),
        (HILLS, 4, " nbeads='2'", 1, "wrong", "<force forcefield='bias' nbeads='1'/> biases the centroid"),
        (HILLS, 4, " nbeads='1'", 1, None, ""),
        (HILLS, 1, "", 1, None, ""),
        (HILLS, 1, "", 2, "wrong", "'bias' gets 2 structures a step, of 2 systems"),
        (RESTRAINT, 4, "", 1, "advice", "'bias' gets 4 structures a step, of beads"),
    ],
)
def test_a_bias_that_gets_several_structures_a_step(aluminium, bias, beads, nbeads, systems, verdict, message):
    """Each would be a step of its own: hills four times as often, and times in COLVAR that are four times too long."""
    write_bias(aluminium, bias, 1, beads, nbeads, systems)
    run = aluminium.run_here("check", aluminium.config, "--no-compute")
    said = " ".join(run.stdout.split())
    assert run.returncode == (2 if verdict == "wrong" else 0), said
    assert f"{verdict} bias 'bias' gets" in said if verdict else "'bias' gets" not in said
    assert message in said


COORDINATION = """[[cv]]
name = "d"
kind = "coordination"
centres = "Al"
neighbours = "Al"
switch = { kind = "cubic", d0_angstrom = 2.0, d_max_angstrom = 4.0 }
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("at = 0", "at = 10000", "advice bias the largest force on the template is"),
        ("2.0, d_max_angstrom = 4.0", "0.2, d_max_angstrom = 0.4", "advice variables d is zero and depends on no atom"),
        ("height_eV = 0.01", "height_eV = 1.2", "height_eV = 1.2 is 45 k_B T"),
    ],
)
def test_a_bias_in_other_units(aluminium, old, new, told):
    write_bias(aluminium, RESTRAINT.replace("hills = false", "sigma = 0.1") + HILLS.partition("\n")[2], 1, 1, "")
    text = aluminium.config.read_text().replace(CV, COORDINATION).replace("d_x", "d_number")
    assert old in text
    for content, is_told in ((text, False), (text.replace(old, new), True)):
        aluminium.config.write_text(content)
        run = aluminium.run_here("check", aluminium.config)
        assert (told in " ".join(run.stdout.split())) is is_told, run.stdout
        assert run.returncode == 0


def test_a_bias_of_another_time_step_and_temperature(aluminium):
    write_bias(aluminium, HILLS, 0.5, 1, "")
    said = " ".join(aluminium.run_here("check", aluminium.config, "--no-compute").stdout.split())
    assert "advice bias time_step_fs is 0.5, and i-PI's is 1 fs" in said
    assert "advice bias temperature_K is 310, and i-PI's is 300 K" in said
    write_bias(aluminium, HILLS.replace("310", "300"), 1, 1, "")
    assert "and i-PI's is" not in aluminium.run_here("check", aluminium.config, "--no-compute").stdout


def test_several_temperatures_where_the_energy_is_not_enough(aluminium):
    """The weights of other temperatures need the potential energy alone, of classical nuclei at constant volume."""
    write_bias(aluminium, MULTITHERMAL, 1, 4, "")
    said = " ".join(aluminium.run_here("check", aluminium.config, "--no-compute").stdout.split())
    assert "wrong bias 'bias' gets 4 structures a step" in said
    assert "advice bias temperature_K is 310, and i-PI's is 300 K" in said
    assert "multithermal is for classical nuclei at constant volume, and Dynamics nve: it has 4 beads" in said
    write_bias(aluminium, MULTITHERMAL.replace("310", "300"), 1, 1, "")
    assert "advice bias" not in " ".join(aluminium.run_here("check", aluminium.config, "--no-compute").stdout.split())


def test_a_domain_of_what_is_not_periodic(aluminium):
    write_bias(aluminium, HILLS.replace("sigma = 0.1", 'sigma = 0.1, domain = ["-pi", "pi"]'), 1, 1, "")
    run = aluminium.run_here("check", aluminium.config)
    assert "d_x has a domain, but no output of a [[cv]] is periodic; give lower and upper" in " ".join(
        run.stdout.split()
    )


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("d: DISTANCE ATOMS=1,2\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=10\n", "wrong"), ("RESTRAINT ARG=d AT=0\n", "advice")],
)
def test_a_hosted_plumed_that_gets_beads(aluminium, text, verdict):
    write_bias(aluminium, RESTRAINT, 1, 4, "")
    (aluminium.folder / "plumed.dat").write_text(text)
    config = aluminium.config.read_text().replace('"metadynamics"', '"plumed"\nplumed_dat = "plumed.dat"')
    aluminium.config.write_text(config.replace(RESTRAINT, ""))
    said = " ".join(aluminium.run_here("check", aluminium.config, "--no-compute").stdout.split())
    assert f"{verdict} bias 'bias' gets 4 structures a step" in said
