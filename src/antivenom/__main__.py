"""`python -m antivenom`."""

from antivenom.cli import main

main()
