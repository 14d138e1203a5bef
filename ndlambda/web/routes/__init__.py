"""The routes. Every module has a tuple ``ROUTES`` and is discovered by its place here."""
