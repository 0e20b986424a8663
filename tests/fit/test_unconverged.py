"""Steps that did not converge are told, in files that ASE reads without a word about them."""

import logging

import pytest

from forceserver.fit.config import DataConfig
from forceserver.fit.data import read
from forceserver.fit.unconverged import unconverged

HEADER = """ vasp.6.3.2 27Jun22 (build 1) complex
 POTCAR:    PAW_PBE Al 04Jan2001
 POTCAR:    PAW_PBE Al 04Jan2001
   ions per type =               1
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      6
   ISPIN  =      1    spin polarized calculation?
   NELM   =      {limit};   NELMIN=  2; NELMDL= -5     # of ELM steps
 k-points in reciprocal lattice and weights: gamma
   0.00000000  0.00000000  0.00000000       1.000
"""
ITERATION = "--------------------------------------- Iteration {step:6d}({last:4d})  ------------------\n"
STEP = """------------------------ aborting loop {ended} ----------------------------------------
  in kB       1.0 2.0 3.0 0.1 0.2 0.3
      direct lattice vectors                 reciprocal lattice vectors
     0.0  2.02  2.02     -0.2  0.2  0.2
     2.02  0.0  2.02     0.2 -0.2  0.2
     2.02  2.02  0.0     0.2  0.2 -0.2
 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.0      0.0      0.0         0.0      0.0      0.0
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =        -3.70000000 eV

  energy  without entropy=       -3.70000000  energy(sigma->0) =       -3.70000000
"""
REACHED, NOT_REACHED = "because EDIFF is reached", "EDIFF was not reached (unconverged)"


def outcar(*steps, limit=60):
    """Of steps with so many iterations that ended in one of two ways."""
    text = HEADER.format(limit=limit)
    for step, (last, ended) in enumerate(steps, start=1):
        text += "".join(ITERATION.format(step=step, last=k) for k in range(1, last + 1)) + STEP.format(ended=ended)
    return text


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([(12, REACHED), (9, REACHED)], 0),
        ([(12, REACHED), (60, NOT_REACHED), (60, NOT_REACHED)], 2),
        ([(60, REACHED), (12, REACHED)], 1),  # VASP 5 says so in either case
    ],
)
def test_steps_of_vasp(tmp_path, caplog, steps, count):
    path = tmp_path / "OUTCAR"
    path.write_text(outcar(*steps))
    with caplog.at_level(logging.INFO):
        data = read(path, DataConfig(train=path))
    assert [one.energy for one in data] == [-3.7] * len(steps)
    assert unconverged(path) == count
    assert (f"OUTCAR: {count} electronic steps did not converge" in caplog.text) == (count > 0)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("vasprun.xml", '<i name="NELM">  3</i>\n' + (3 * "<scstep>\n" + "</calculation>\n") * 2, 2),
        ("vasprun.xml", '<i name="NELM">  4</i>\n' + (3 * "<scstep>\n" + "</calculation>\n") * 2, 0),
        ("pw.pwo", "     convergence NOT achieved after 100 iterations: stopping\n", 1),
        ("pw.pwo", "     convergence has been achieved in   7 iterations\n", 0),
        ("g16.log", " Entering Gaussian System\n >>>>>>>>>> Convergence criterion not met.\n", 1),
        ("a.extxyz", "1\nnote='convergence NOT achieved'\nAl 0 0 0\n", 0),
    ],
)
def test_what_other_files_say(tmp_path, name, text, count):
    (tmp_path / name).write_text(text)
    assert unconverged(tmp_path / name) == count
