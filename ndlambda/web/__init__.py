"""The HTTP layer: paths, headers, statuses and error bodies occur only here."""
