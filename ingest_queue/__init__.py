"""The ingest system: image stacks of a lab on their way into cuboids."""
