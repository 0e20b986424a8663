"""One simulation with its i-PI and its drivers: started, watched, ended with nothing left behind."""
