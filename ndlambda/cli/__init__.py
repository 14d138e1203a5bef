"""The command ``ndlambda``: one file a command or group of commands."""

from ndlambda.cli.app import main

__all__ = ["main"]
