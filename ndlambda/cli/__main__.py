"""``python -m ndlambda.cli`` is the command ``ndlambda``."""

from ndlambda.cli import main

main()
