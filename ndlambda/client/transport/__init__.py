"""The client's HTTP layer: sessions, retries, problem documents, parallel transfers."""
