"""Lambda entry points, one in each module: they take event and context and return an answer."""
