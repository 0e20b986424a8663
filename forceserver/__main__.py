"""`python -m forceserver`."""

from .cli import main

main()
