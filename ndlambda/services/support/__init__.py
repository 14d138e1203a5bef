"""Technical helpers of the services: paging, retries, threads, memory budget, caches."""
