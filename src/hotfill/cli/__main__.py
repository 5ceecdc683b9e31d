"""`python -m hotfill.cli` is `hotfill`."""

from hotfill.cli import main

main()
