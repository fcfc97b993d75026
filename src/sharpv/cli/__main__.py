"""`python -m sharpv.cli` is `sharpv`."""

from sharpv.cli.app import main

main()
