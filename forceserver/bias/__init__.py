"""Biases: functions of collective variables that change with time."""
