"""The pair style `forceserver` of LAMMPS: the plugin's source, how it is built, and what it reads of a model."""
