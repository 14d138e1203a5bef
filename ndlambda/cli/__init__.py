"""The command ``ndlambda``: one module per command or group of commands."""

from ndlambda.cli.app import main

__all__ = ["main"]
