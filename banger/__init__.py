"""banger: real Linux VMs with a name, a shell and a network, at the speed of a process."""

__version__ = "0.1.0"
