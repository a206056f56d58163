"""The only room that touches the machine: netlink, disks, processes, paths.

Everything here blocks; the daemon calls it in threads. May import: model, kernel.
"""
