"""Opening a dump and reporting what it holds."""
