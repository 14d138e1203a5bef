"""Bodies: arrays and objects to bytes and back, with hostile bytes refused before they cost much.

A decoder is told what the URL promises and compares that with the header of the body before it
allocates, inflates or decompresses anything.
"""
