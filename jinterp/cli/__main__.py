"""`python -m jinterp.cli`."""

from jinterp.cli import main

main()
