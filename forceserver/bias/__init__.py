"""Biases: functions of collective variables and time, the journal of their deposits, and PLUMED instead of both."""
