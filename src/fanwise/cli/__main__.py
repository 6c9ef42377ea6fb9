"""`python -m fanwise.cli`."""

from fanwise.cli.app import main

main()
