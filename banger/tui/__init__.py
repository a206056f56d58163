"""The full-screen view: a model of what is known, pure views of it, and what moves it."""
