"""PLUMED behind the bias driver: its kernel is loaded here, and the user's plumed.dat makes the bias."""
