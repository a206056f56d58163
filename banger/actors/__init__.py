"""One actor a file, its messages beside it. May import everything below the API."""
