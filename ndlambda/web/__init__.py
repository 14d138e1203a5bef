"""HTTP words live here and nowhere else: paths, headers, statuses, bodies of errors."""
