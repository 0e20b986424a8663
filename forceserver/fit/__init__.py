"""Training of models: data, sparse points, design matrices, regression, reports."""
