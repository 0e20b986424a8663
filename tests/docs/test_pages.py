"""Every page is lived through as it is printed: files are written, commands and scripts run, configurations checked."""

import pytest
from blocks import PAGES, ROOT, blocks, indented, live_through
from scenery import SCENERY, SCENES

STUDY = "tests/workflows/test_batio3_study.py"
ELSEWHERE = {
    "make demo": "tests/cli/test_demo.py",
    "make test": ".ci/run",
    "python tools/feedstock.py": "tests/test_recipe.py",
    "forceserver demo": "tests/cli/test_demo.py",
    "source .venv": ".ci/run",
    "forceserver init": "tests/cli/test_init.py",
    "mpirun": "tests/cli/test_without_socket.py",
    "i-pi-driver-py": "tests/cli/test_without_socket.py",
    "python study.py": STUDY,
    "python ../study.py": STUDY,
    "cp -r ": "tests/peers/test_slurm.py",
    "forceserver drive config.toml --role force --host": "tests/peers/test_slurm.py",
    "forceserver launch config.toml --port": "tests/cli/test_launch.py",
    "forceserver launch config.toml -n 1": "tests/peers/test_slurm.py",
    "gmx mdrun": "tests/peers/test_plumed_gromacs.py",
    "mpiexec -n 4 plumed driver": "tests/peers/test_plumed_mpi.py",
    "from ase import units\nfrom ase.calculators.plumed": "tests/peers/test_ase_plumed.py",
    "apt install slurm-wlm": "tests/peers/test_slurm.py",
    "forceserver fit fit.toml": "tests/docs/test_fit_page.py",
    "forceserver learn learn.toml": "tests/learn/test_learn.py",
    "forceserver learn sic.toml --check": "tests/docs/test_learn_page.py",
    "[[simulations]]\nconfig": "tests/learn/test_learn.py",
    "./run.sh": "tests/workflows/test_lammps_engine.py",
    '[potential]\nkind = "mace"': "tests/potentials/test_mace.py",
    '[potential]\nkind = "torchsim"': "tests/potentials/test_torchsim.py",
    "forceserver export config.toml": "tests/export/test_export_variable.py",
    "python simulate.py": "tests/workflows/test_lammps_engine.py",
    "forceserver lammps build": "tests/docs/test_pages.py",  # the page docs/lammps.md
}
"""First words of commands that take minutes, another machine or another program -> what runs them."""

NOT_RUN = {
    "python3 generate.py": "density functional theory, weeks of a core",
    "python run.py": "hours",
    "touch start.extxyz": "ten minutes",
    "touch rare_": "an hour",
    "ssh -N -L": "another machine",
    'cd "run-$SLURM_ARRAY_TASK_ID"': "a cluster",
    '[potential]\nkind = "ase"\ncalculator = "mace': "mace-torch",
    "OMP_NUM_THREADS=1 forceserver fit": "minutes; a test fits a part of it",
    "cd plumed-2.10.1/src/metatomic": "sources of PLUMED; tests/peers/test_plumed_order.py takes what it makes",
    "pipx run cibuildwheel": "a package that only releases need",
}


def name_of(page) -> str:
    return str(page.relative_to(ROOT))


LONG = (
    "docs/python.md", "docs/howto/own_network.md", "docs/commands/fes.md", "docs/howto/multiple_time_steps.md",
    "docs/howto/replica_exchange.md", "docs/lammps.md",
)  # fmt: skip
"""Pages that take a quarter of a minute or more."""

STORIES = [page for page in PAGES if any(block.language in ("sh", "python", "toml") for block in blocks(page))]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=name_of(page), marks=pytest.mark.long if name_of(page) in LONG else ()) for page in STORIES],
)
def test_page_as_printed(page, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    SCENERY.get(name_of(page), lambda folder: None)(folder)
    live_through(page, folder, SCENES.get(name_of(page), {}))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_what_it_is(page):
    assert not indented(page)
    for block in blocks(page):
        assert block.language, block.place
        if block.elsewhere:
            assert any(block.text.startswith(words) for words in ELSEWHERE | NOT_RUN), block.place


def test_what_runs_elsewhere_is_there():
    for words, test in ELSEWHERE.items():
        assert (ROOT / test).exists(), words
