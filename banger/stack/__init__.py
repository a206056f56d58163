"""Stacks: a named set of VMs, stated in a TOML file and brought to that state.

``definition`` reads the file, ``plan`` compares it with what there is, ``apply`` does what is
missing. A VM belongs to the stack that its label says; nothing else is kept of a stack.
"""
