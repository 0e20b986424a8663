"""Clients of the i-PI protocol that compute nothing, and the stopwatch that serves them: what an evaluation costs."""
