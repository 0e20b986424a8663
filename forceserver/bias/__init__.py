"""Biases: functions of collective variables and time, the journal of what they did, and PLUMED in their place."""
