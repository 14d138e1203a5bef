"""Use cases. They depend on the ports of the stores, never on an adapter or on HTTP."""
