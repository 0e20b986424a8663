"""OPES: a bias made of an estimate of the probability density, as PLUMED's OPES_METAD and OPES_METAD_EXPLORE."""
