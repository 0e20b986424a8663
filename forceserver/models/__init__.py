"""Fitted models as data and as files; one module per kind of model."""
