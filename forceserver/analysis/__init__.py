"""Evaluates models and features: errors against references, block averages, comparison of representations."""
