"""The pair style `forceserver` for LAMMPS: source of the plugin, its build, and the tables it reads."""
