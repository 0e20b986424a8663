"""`forceserver check`: every mismatch is found, in i-PI's terms, before anything starts."""

import ase.io
import pytest

SHARED = "<ffsocket name='al' mode='shm'><address>al</address><latency>0</latency></ffsocket>"
TCP = "<ffsocket name='al' mode='inet'><address>localhost</address><port>{port}</port></ffsocket>"
BATCHES = (
    "<ffsocket name='al' mode='unix'><address>al</address><latency>0</latency><batch_size>{}</batch_size></ffsocket>"
)


def check(case, *arguments) -> tuple[int, str]:
    """Exit code and everything that was said, as one line."""
    run = case.run_here("check", case.config, *arguments)
    return run.returncode, " ".join((run.stdout + run.stderr).split())


def test_all_fits(aluminium):
    aluminium.write_simulation(old="</properties>", new="</properties><checkpoint stride='9'/>")
    code, said = check(aluminium)
    assert code == 0, said
    assert "wrong" not in said
    assert "advice" not in said
    assert "32 atoms, same species in the same order" in said
    assert not list(aluminium.folder.glob("*.log"))
    assert not list(aluminium.folder.glob("s_*"))


def test_conformance_of_the_potential(aluminium, monkeypatch):
    """EMT is right, also where it cuts its tails off; forces that are a ten-thousandth too large are not."""
    code, said = check(aluminium, "--potential", "--tolerance", "1e-4")
    assert code == 0, said
    assert "ok potential Virial is minus the derivative" in said
    (aluminium.folder / "stiff_emt.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "class StiffEMT(EMT):\n"
        "    def calculate(self, *args, **kwargs):\n"
        "        super().calculate(*args, **kwargs)\n"
        "        self.results['forces'] = 1.0001 * self.results['forces']\n"
    )
    monkeypatch.syspath_prepend(aluminium.folder)
    aluminium.write_config("ase.calculators.emt.EMT", "stiff_emt.StiffEMT")
    code, said = check(aluminium, "--potential")
    assert code == 2
    assert "wrong potential Forces are minus the derivative" in said


def test_number_of_atoms(aluminium):
    atoms = ase.io.read(aluminium.folder / "al.extxyz")
    atoms[:-1].write(aluminium.folder / "template.extxyz")
    aluminium.write_config('file = "al.extxyz"', 'file = "template.extxyz"')
    code, said = check(aluminium)
    assert code == 2
    assert "wrong atoms i-PI sends 32 atoms, the template has 31" in said


def test_order_of_species(aluminium):
    atoms = ase.io.read(aluminium.folder / "al.extxyz")
    atoms.symbols[3] = "Cu"
    atoms.write(aluminium.folder / "al.extxyz")
    atoms.symbols[3], atoms.symbols[5] = "Al", "Cu"
    atoms.write(aluminium.folder / "template.extxyz")
    aluminium.write_config('file = "al.extxyz"', 'file = "template.extxyz"')
    code, said = check(aluminium)
    assert code == 2
    assert "atom 3 is Cu in i-PI, Al here; same atoms in another order" in said


def test_only_the_active_atoms_count(aluminium):
    atoms = ase.io.read(aluminium.folder / "al.extxyz")
    atoms[:4].write(aluminium.folder / "template.extxyz")
    aluminium.write_config('file = "al.extxyz"', 'file = "template.extxyz"')
    aluminium.write_simulation(old="</address>", new="</address><activelist>[0,1,2,3]</activelist>")
    code, said = check(aluminium)
    assert code == 0, said
    assert "4 atoms, same species" in said


LENNARD_JONES = "<fflj name='{}' pbc='False'><parameters>{{eps: 1e-4, sigma: 5}}</parameters></fflj>"
"""A force field of i-PI itself, for two atoms that interact hardly."""


@pytest.mark.parametrize("forcefield", [SHARED, TCP.format(port=12345)])
def test_mode_of_the_socket(aluminium, forcefield):
    aluminium.write_simulation(forcefield=forcefield)
    code, said = check(aluminium)
    assert code == 2
    assert f"[socket] is mode = 'unix' at {aluminium.prefix}al, but i-PI listens: <ffsocket name='al'> mode=" in said


def test_port(aluminium):
    unix = f'mode = "unix"\naddress = "al"\nprefix = "{aluminium.prefix}"'
    aluminium.write_config(unix, 'mode = "inet"\naddress = "localhost"\nport = 12346')
    aluminium.write_simulation(forcefield=TCP.format(port=12345))
    code, said = check(aluminium)
    assert code == 2
    assert "at localhost:12346, but i-PI listens: <ffsocket name='al'> mode='inet' at localhost:12345" in said
    aluminium.write_simulation(forcefield=TCP.format(port=12346))
    code, said = check(aluminium)
    assert code == 0, said
    assert "mode='unix' is faster" in said


def test_prefix_of_the_sockets(aluminium):
    aluminium.write_simulation(old=f"sockets_prefix='{aluminium.prefix}'", new="")
    code, said = check(aluminium)
    assert code == 2
    assert "mode='unix' at /tmp/ipi_al" in said


def test_name_that_is_in_use(aluminium):
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{aluminium.prefix}al")
        code, said = check(aluminium)
    assert code == 2
    assert "exists already (a socket that a process of this machine has open)" in said


def test_port_that_is_in_use(aluminium):
    """As for names in the file system; a host that is another machine's is for that machine to judge."""
    import socket

    unix = f'mode = "unix"\naddress = "al"\nprefix = "{aluminium.prefix}"'
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        listener.listen()
        port = listener.getsockname()[1]
        aluminium.write_config(unix, f'mode = "inet"\naddress = "localhost"\nport = {port}')
        aluminium.write_simulation(forcefield=TCP.format(port=port))
        code, said = check(aluminium)
        assert code == 2
        assert f"port {port} is in use at localhost" in said
    aluminium.write_simulation(forcefield=TCP.format(port=port).replace("localhost", "node17.invalid"))
    code, said = check(aluminium)
    assert code == 0, said
    assert "advice socket here i-PI cannot run: the host 'node17.invalid' cannot be found" in said


def test_a_cell_of_the_input_replaces_that_of_the_file(aluminium):
    cell = "</file><cell mode='abc' units='angstrom'> [30, 30, 30] </cell>"
    aluminium.write_simulation(old="</file>", new=cell)
    code, said = check(aluminium)
    assert code == 0, said
    assert "the <cell> of i-PI's input is 27000 Å³, 50.8 times the volume of the template's" in said


def test_systems_that_do_not_use_this_socket(aluminium):
    """Another system, of other atoms, whose forces i-PI computes by itself."""
    text = (aluminium.folder / "input.xml").read_text()
    ase.io.write(
        aluminium.folder / "h2.extxyz", ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], cell=[20, 20, 20], pbc=True)
    )
    begin, end = text.index("<system>"), text.index("</system>") + len("</system>")
    other = text[begin:end].replace("al.extxyz", "h2.extxyz").replace("forcefield='al'", "forcefield='debye'")
    other = other.replace("<system>", f"{LENNARD_JONES.format('debye')}<system prefix='second'>")
    aluminium.write_simulation(old="</system>", new=f"</system>{other}")
    code, said = check(aluminium)
    assert code == 0, said
    other = other.replace("forcefield='debye'", "forcefield='al'")
    aluminium.write_simulation(old="</system>", new=f"</system>{other}")
    code, said = check(aluminium)
    assert code == 2
    assert "i-PI sends 2 atoms, the template has 32" in said


def test_atoms_on_top_of_one_another(aluminium):
    """Positions that were written in angstrom and are read in bohr come too close."""
    (aluminium.folder / "h2.xyz").write_text("2\n# CELL(abcABC): 20 20 20 90 90 90\nH 0 0 0\nH 0 0 0.74\n")
    aluminium.write_config('file = "al.extxyz"', 'file = "h2.xyz"')
    aluminium.write_simulation(old="<file mode='ase'> al.extxyz", new="<file mode='xyz'> h2.xyz")
    assert "atoms 0 and 1 are 0.392 Å apart in i-PI's structure: check units" in check(aluminium)[1]


COMMITTEE = """<ffcommittee name='al'>
<ffsocket name='one' mode='unix'><address>al</address><latency>0</latency></ffsocket>
<ffsocket name='two' mode='inet'><address>localhost</address><port>23456</port><latency>0</latency></ffsocket>
</ffcommittee>"""


def test_sockets_in_a_committee_have_the_default_prefix(aluminium):
    """i-PI gives its sockets_prefix to the outermost force fields only."""
    aluminium.write_simulation(forcefield=COMMITTEE, beads=4)
    code, said = check(aluminium)
    assert code == 2
    assert "mode='unix' at /tmp/ipi_al (inside 'al', where sockets_prefix does not apply)" in said
    address = f"al{aluminium.folder.name}"
    aluminium.write_simulation(forcefield=COMMITTEE.replace("<address>al<", f"<address>{address}<"), beads=4)
    aluminium.write_config(f'address = "al"\nprefix = "{aluminium.prefix}"', f'address = "{address}"')
    code, said = check(aluminium)
    assert code == 0, said
    assert "other drivers must serve two" in said
    assert "<batch_size>4</batch_size> gives each driver its share" in said


def test_the_socket_of_rotations(aluminium):
    inner = "<ffsocket name='one' mode='inet'><address>localhost</address><port>23457</port></ffsocket>"
    aluminium.write_simulation(forcefield=f"<ffrotations name='al'>{inner}</ffrotations>")
    unix = f'mode = "unix"\naddress = "al"\nprefix = "{aluminium.prefix}"'
    aluminium.write_config(unix, 'mode = "inet"\naddress = "localhost"\nport = 23457')
    code, said = check(aluminium)
    assert code == 0, said
    assert "ok socket [socket] is <ffsocket name='one'>" in said
    direct = "<ffdirect name='in'><pes>dummy</pes></ffdirect>"
    aluminium.write_simulation(forcefield=f"<ffrotations name='al'>{direct}</ffrotations>")
    code, said = check(aluminium)
    assert code == 2
    assert "no <ffsocket>: nothing to drive" in said


@pytest.mark.parametrize(("mode", "barostat"), [("npt", "isotropic"), ("nst", "anisotropic")])
def test_constant_enthalpy_is_no_mistake(aluminium, mode, barostat):
    """It is how i-PI is told of it, but may also be a <thermostat> that was forgotten."""
    cell = "<h0>[15, 0, 0, 0, 15, 0, 0, 0, 15]</h0>"
    size = f"<barostat mode='{barostat}'><tau units='femtosecond'>200</tau>{cell}</barostat>"
    aluminium.write_simulation(old="<dynamics mode='nve'>", new=f"<dynamics mode='{mode}'>{size}")
    path = aluminium.folder / "input.xml"
    target = "<pressure>0</pressure>" if mode == "npt" else "<stress>[0, 0, 0, 0, 0, 0, 0, 0, 0]</stress>"
    path.write_text(path.read_text().replace("</temperature>", f"</temperature>{target}"))
    code, said = check(aluminium)
    assert code == 0, said
    assert f"advice dynamics <dynamics mode='{mode}'> has no <thermostat>: the enthalpy is constant" in said


def test_several_sockets(aluminium):
    other = "<ffsocket name='bias' mode='unix'><address>bias</address></ffsocket>"
    aluminium.write_simulation(old="<system>", new=f"{other}<system>")
    code, said = check(aluminium)
    assert code == 0, said
    assert "other drivers must serve bias" in said


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("femtosecond", "femptosecond", "femptosecond"),
        ("<latency>0</latency>", "<latencie>0</latencie>", "latencie"),
        ("al.extxyz", "absent.extxyz", "absent.extxyz"),
        ("</simulation>", "", "no element found"),
        ("mode='unix'", "mode='carrier pigeon'", "carrier pigeon"),
        ("<total_steps>5<", "<total_steps>many<", "many"),
    ],
)
def test_what_ipi_itself_would_not_take(aluminium, old, new, message):
    aluminium.write_simulation(old=old, new=new)
    code, said = check(aluminium)
    assert code == 2
    assert "i-PI does not accept it" in said
    assert message in said


def test_units_of_the_structure(aluminium):
    """The classic: a file in angstrom that i-PI takes for bohr, so that the cell shrinks."""
    atoms = ase.io.read(aluminium.folder / "al.extxyz")
    lines = [str(len(atoms)), "# CELL(abcABC): 8.1 8.1 8.1 90 90 90"]
    lines += [f"Al {x} {y} {z}" for x, y, z in atoms.positions]
    (aluminium.folder / "init.xyz").write_text("\n".join(lines) + "\n")
    aluminium.write_simulation(old="<file mode='ase'> al.extxyz", new="<file mode='xyz'> init.xyz")
    code, said = check(aluminium)
    assert "i-PI's cell has 0.148 times the volume of the template's: check cell_units and units" in said
    assert "advice cell" in said or code == 2


def test_advice_about_speed(aluminium):
    aluminium.write_simulation(beads=8, old="<latency>0</latency>", new="")
    code, said = check(aluminium, "-n", 2)
    assert code == 0, said
    assert "<latency>0</latency> saves" in said
    assert "threading" not in said
    assert "<batch_size>4</batch_size> gives each driver its share at once" in said
    assert "<timeout>600</timeout> gives what is not answered within 600 s to another driver" in said
    aluminium.write_simulation(beads=2, forcefield=BATCHES.format(8))
    _, said = check(aluminium, "-n", 4)
    assert "<batch_size> 8 is more than the 2 structures of a step" in said
    assert "3 of 4 drivers will have nothing to do" in said
    aluminium.write_simulation(beads=8, forcefield=BATCHES.format(3))
    assert "8 structures a step are no multiple of <batch_size> 3" in check(aluminium, "-n", 3)[1]
    aluminium.write_simulation(old="threading='False'", new="")
    assert "threading='False' in <simulation> avoids handing" in check(aluminium)[1]


def test_batches_need_consolidated_messages(aluminium):
    legacy = BATCHES.format(2).replace("</address>", "</address><consolidate_messages>False</consolidate_messages>")
    aluminium.write_simulation(beads=2, forcefield=legacy)
    code, said = check(aluminium)
    assert code == 2
    assert "<batch_size> needs <consolidate_messages> True" in said


def test_nothing_to_drive(aluminium):
    aluminium.write_simulation(forcefield=LENNARD_JONES.format("al"))
    code, said = check(aluminium)
    assert code == 2
    assert "no <ffsocket>: nothing to drive" in said
    assert check(aluminium, "-n", 0)[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('file = "al.extxyz"', 'file = "absent.xyz"', "structure.file"),
        ('mode = "unix"', 'mode = "udp"', "'unix', 'inet' or 'shm'"),
        ("[socket]", "[sockets]", "sockets: unknown key; did you mean 'socket'?"),
        ("calculator =", "calculater =", "did you mean 'calculator'?"),
        ('kind = "ase"', 'kind = "esa"', "'esa'"),
        ("[potential]", "[potential", "not valid TOML"),
        ("[socket]", "[socket]\nport = 12", "has no port"),
    ],
)
def test_configuration_that_is_wrong(aluminium, old, new, message):
    aluminium.write_config(old, new)
    code, said = check(aluminium)
    assert code == 2
    assert message in said


def test_configuration_that_is_not_there(aluminium):
    aluminium.config.unlink()
    code, said = check(aluminium)
    assert code == 2
    assert "cannot read the configuration" in said


def test_a_name_that_no_file_can_have(aluminium):
    run = aluminium.run_here("fes", "x" * 5000, "-T", "300")
    assert run.returncode == 1
    assert run.stderr.endswith(": File name too long\n")
