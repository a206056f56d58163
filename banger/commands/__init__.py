"""Every command, declared once. One file a command; `table` lists them.

A command is data (`declare.Command`) and a function ``run(context, **parameters)``. The
argument line derives from it, and so can any other face. May import: model, settings,
client.
"""
