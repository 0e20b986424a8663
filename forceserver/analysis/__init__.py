"""What is done with results: errors, free energies, pictures."""
