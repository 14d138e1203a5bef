"""The command ``ndlambda``: one module per command or group of commands."""

import sys

try:
    from ndlambda.cli.app import main
except KeyboardInterrupt:  # loading takes half a second, in which nothing was begun
    sys.exit(130)

__all__ = ["main"]
