"""Encodes and decodes bodies of arrays and objects; hostile input is refused before it costs much.

A decoder is given the dtype and shape that the URL promises, and compares them with the header of
the body before it allocates, inflates or decompresses anything.
"""
