"""`python -m ccar`: the same as the `ccar` command."""

from ccar.cli import main

main()
