"""Client of volumes, indexed like arrays."""
