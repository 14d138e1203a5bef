"""Test support for adapters of the ports and for code that uses them.

``ndlambda.testing.counting`` counts the requests to stores. No other package of ndlambda imports
this one.
"""
