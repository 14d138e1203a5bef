"""Decoders of untrusted bytes that several formats share."""
