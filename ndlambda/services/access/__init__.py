"""Users, their keys, and who may do what."""
