"""What a fitted model is, as data and as a file; one file a kind of model."""
