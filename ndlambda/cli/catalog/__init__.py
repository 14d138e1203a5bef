"""Commands for datasets, projects, channels, tokens and users."""
