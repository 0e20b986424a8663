"""The input of an i-PI that steps for as long as it is told to, and writes nothing."""

INPUT = """<simulation verbosity='quiet' safe_stride='1000000000'{attributes}>
  <output prefix='steps'/>
  <total_steps>1000000000</total_steps>
  <prng><seed>1</seed></prng>
  {forcefield}
  <system>
    <initialize nbeads='{beads}'>
      {file}
      <velocities mode='thermal' units='kelvin'>300</velocities>
    </initialize>
    <forces><force forcefield='{name}'/></forces>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'>{timestep_fs}</timestep>
        <thermostat mode='{thermostat}'><tau units='femtosecond'>100</tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units='kelvin'>300</temperature></ensemble>
  </system>
</simulation>
"""


def stepping_input(
    name: str, forcefield: str, file: str, beads: int, thermostat: str, timestep_fs: str, attributes: str = ""
) -> str:
    """The input.

    Args:
        name: of the force field.
        forcefield: its element.
        file: the element <file> of the initial structure.
        beads: of the ring polymer.
        thermostat: its mode.
        timestep_fs: time step, fs.
        attributes: further ones of <simulation>, with a blank before.

    Returns:
        XML.
    """
    return INPUT.format(
        name=name,
        forcefield=forcefield,
        file=file,
        beads=beads,
        thermostat=thermostat,
        timestep_fs=timestep_fs,
        attributes=attributes,
    )
