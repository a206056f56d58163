"""Void Linux guests: the recipe of their image, and what a guest under runit needs."""
