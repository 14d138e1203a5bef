"""The ingest system: turns image stacks into stored cuboids."""
