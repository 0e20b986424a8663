"""One simulation with i-PI and its drivers: started, watched and ended, with nothing left behind."""
