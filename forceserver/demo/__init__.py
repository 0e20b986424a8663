"""The demonstration: its simulations, and what is concluded from them."""
