"""Free energies from the files of a bias, by summing hills or kernels and by reweighting, with their errors."""
