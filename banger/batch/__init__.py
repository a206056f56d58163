"""Batch files: text → words → tree → plan → run. ``docs/batch.md`` tells the language.

Everything that can be wrong with a file is a `Problem` with its place, found before the first
command runs. There are no conditions in the language, so the plan is known beforehand but for
what commands will print: such values are `Late`.
"""
