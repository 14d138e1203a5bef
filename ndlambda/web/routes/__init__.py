"""The route families; each module lists its ``ROUTES`` and is found by being here."""
