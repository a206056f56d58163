"""Virtual machine monitors: one driver a file behind the `Vmm` protocol.

May import: host, model, kernel.
"""
