"""Every example in the documentation is a valid section."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from forceserver.fit.config import FitConfig
from forceserver.potentials import PotentialConfig
from forceserver.potentials.conformance import CHECKS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parents[2] / "docs" / "potentials.md"
ALL_EXAMPLES = re.findall(r"```toml[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
FITS = [example for example in ALL_EXAMPLES if "[data]" in example]
EXAMPLES = [example for example in ALL_EXAMPLES if example not in FITS]


@pytest.mark.parametrize("example", EXAMPLES)
def test_example_is_valid(tmp_path, example):
    for name in (
        "model.pt",
        "model-1.pt",
        "model-2.pt",
        "si.npz",
        "ace.npz",
        "copper.yace",
        "gap.xml",
        "mace.model",
        "molecules.npz",
    ):
        (tmp_path / name).touch()
    np.savetxt(tmp_path / "arne.dat", np.stack([np.linspace(2, 9, 20), np.zeros(20)], axis=1))
    section = tomllib.loads(example)["potential"]
    TypeAdapter(PotentialConfig).validate_python(section, context={"folder": tmp_path})


@pytest.mark.parametrize("example", FITS)
def test_fit_is_valid(tmp_path, example):
    for name in ("train.extxyz", "test.extxyz"):
        (tmp_path / name).touch()
    FitConfig.model_validate(tomllib.loads(example), context={"folder": tmp_path})


def test_every_kind_has_an_example():
    kinds = set(re.findall(r'^kind = "(\w+)"', "\n".join(EXAMPLES), re.MULTILINE))
    assert kinds == set(TypeAdapter(PotentialConfig).json_schema()["discriminator"]["mapping"])


def test_the_report_on_the_page_is_that_of_the_check():
    told = re.findall(r"^  ok    (.+?)(?:  .*)?$", PAGE.read_text(), re.MULTILINE)
    assert told == [(check.__doc__ or "").rstrip(".") for check in CHECKS.values()]
