"""Storage of objects, rows and messages: three ports, with adapters for AWS and for disks."""
