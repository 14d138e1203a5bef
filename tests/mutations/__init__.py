"""Protections of the product, taken out one at a time to see that a test fails."""
