"""The HTTP server of a laptop: asyncio takes and gives bytes, threads run the application."""
