"""What the services share and the field does not know: paging, retries, threads, memory, caches."""
