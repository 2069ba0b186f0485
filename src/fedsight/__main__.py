"""`python -m fedsight` is the `fedsight` command."""

from fedsight.cli import main

main()
