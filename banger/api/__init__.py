"""From requests on the socket to questions for the actors. One file a subject.

May import everything below it; only the composition root imports it.
"""
