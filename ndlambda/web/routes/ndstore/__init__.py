"""Routes of ndstore's dialect."""
