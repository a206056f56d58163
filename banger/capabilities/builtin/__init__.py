"""banger's own features, built on the hooks that plugins have."""
