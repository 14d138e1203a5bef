"""The command that ingests a stack."""
