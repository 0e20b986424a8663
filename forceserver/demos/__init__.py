"""What the demonstrations make of their results."""
