"""Benches of the faces: they use all of them."""
