"""HTTP as the client speaks it: sessions, retries, problems, parallel transfers."""
