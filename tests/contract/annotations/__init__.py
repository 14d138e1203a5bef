"""The contract of annotation channels, and its five drivers."""
