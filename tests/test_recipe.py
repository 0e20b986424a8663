"""The conda-forge recipe can be rendered, and asks for what pyproject.toml asks for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "packaging" / "recipe.yaml"
NAMES = {"matplotlib": "matplotlib-base"}  # on conda-forge
COMPILERS = {"c_compiler": ["gcc"], "c_stdlib": ["sysroot"]}

pytestmark = pytest.mark.skipif(not RECIPE.is_file(), reason="not in the repository")


def rendered(platform: str, python: str) -> dict[str, list[str]]:
    """The requirements of the recipe."""
    rattler = pytest.importorskip("rattler_build", reason="no py-rattler-build")
    variants = rattler.VariantConfig({"python": [python], **COMPILERS})
    config = rattler.RenderConfig(rattler.PlatformConfig(target_platform=platform))
    (variant,) = rattler.Stage0Recipe.from_file(RECIPE).render(variants, config)
    return variant.recipe.to_dict()["requirements"]


def needed(requirements: list[str]) -> dict[str, str]:
    """Name on conda-forge -> bound, of requirements in the words of pip."""
    found = dict(re.fullmatch(r"([\w-]+)\s*(.*)", each.partition(";")[0].strip()).groups() for each in requirements)
    return {NAMES.get(name, name): bound for name, bound in found.items()}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("python", ["3.10", "3.13"])
@pytest.mark.parametrize("platform", ["linux-64", "linux-aarch64", "osx-arm64"])
def test_requirements_are_those_of_the_package(platform, python, project):
    run = needed(rendered(platform, python)["run"])
    wanted = needed(project["project"]["dependencies"])
    if python != "3.10":
        del wanted["tomli"]
    assert run == {"python": "", **wanted}


@pytest.mark.parametrize("platform", ["linux-64", "osx-arm64"])
def test_build_requirements_are_those_of_the_package(platform, project):
    host = needed(rendered(platform, "3.12")["host"])
    for name, bound in needed(project["build-system"]["requires"]).items():
        assert host[name] == bound


def test_a_release_is_filled_in(tmp_path):
    sdist = tmp_path / "forceserver-1.2.3.tar.gz"
    sdist.write_bytes(b"abc")
    command = [sys.executable, ROOT / "tools" / "feedstock.py", sdist]
    recipe = subprocess.run([*command, "ada", "grace"], capture_output=True, text=True, check=True).stdout
    changed = set(recipe.splitlines()) - set(RECIPE.read_text().splitlines())
    checksum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, appendix B.1
    assert changed == {'  version: "1.2.3"', f'  sha256: "{checksum}"', "    - ada", "    - grace"}
    assert len(recipe.splitlines()) == len(RECIPE.read_text().splitlines()) + 1


def test_a_wheel_is_no_source_distribution(tmp_path):
    command = [sys.executable, ROOT / "tools" / "feedstock.py", tmp_path / "forceserver-1.2.3-cp312.whl", "ada"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert "is not the source distribution of a release" in run.stderr
