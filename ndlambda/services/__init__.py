"""Use cases. They see the ports, never an adapter, and nothing of HTTP."""
