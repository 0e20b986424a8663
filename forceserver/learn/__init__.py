"""On-the-fly learning: simulate with a model, compute what it is uncertain of with a reference, fit, again."""
