"""Running the system on one machine: the server, its workers, the demonstration."""
