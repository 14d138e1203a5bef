"""Commands on datasets, projects, channels, tokens and users."""
