"""The command line: what is asked for, what is shown, and the pages of reference."""

from fanwise.cli.app import app, main

__all__ = ["app", "main"]
