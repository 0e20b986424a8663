"""The demonstration: its simulations, and the conclusions from them."""
