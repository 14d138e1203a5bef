"""Lambda entry points, one a file: event and context in, answer out."""
