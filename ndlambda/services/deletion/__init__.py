"""Workers that erase what was deleted."""
