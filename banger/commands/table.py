"""The one table of commands. A module is imported when its command is wanted.

Names without a dot are modules of ``banger.commands``; commands of rooms above have whole paths.
"""

from __future__ import annotations

from importlib import import_module

from banger.commands.declare import Command

GROUPS = {
    "vm": "Create and use VMs.",
    "image": "Build and inspect the images VMs are made from.",
    "key": "Inspect and replace the SSH key that enters all guests.",
    "daemon": "Start, stop and inspect bangerd.",
    "plugin": "Inspect capabilities, drivers and image builders.",
    "stack": "Inspect and delete stacks of VMs.",
    "config": "Inspect the settings.",
    "bench": "Measure banger on this machine.",
}

SUBGROUPS = {
    ("vm", "snapshot"): "Keep VMs as they are at one moment, memory and disks.",
}

MODULES = {
    ("vm", "create"): "vm_create",
    ("vm", "run"): "vm_run",
    ("vm", "list"): "vm_list",
    ("vm", "show"): "vm_show",
    ("vm", "exec"): "vm_exec",
    ("vm", "ssh"): "vm_ssh",
    ("vm", "cp"): "vm_cp",
    ("vm", "start"): "vm_start",
    ("vm", "stop"): "vm_stop",
    ("vm", "restart"): "vm_restart",
    ("vm", "pause"): "vm_pause",
    ("vm", "resume"): "vm_resume",
    ("vm", "fork"): "vm_fork",
    ("vm", "snapshot", "create"): "vm_snapshot_create",
    ("vm", "snapshot", "list"): "vm_snapshot_list",
    ("vm", "snapshot", "restore"): "vm_snapshot_restore",
    ("vm", "snapshot", "delete"): "vm_snapshot_delete",
    ("vm", "set"): "vm_set",
    ("vm", "delete"): "vm_delete",
    ("vm", "stats"): "vm_stats",
    ("vm", "logs"): "vm_logs",
    ("vm", "wait"): "vm_wait",
    ("image", "build"): "image_build",
    ("image", "customize"): "image_customize",
    ("image", "cancel"): "image_cancel",
    ("image", "log"): "image_log",
    ("image", "register"): "image_register",
    ("image", "import"): "image_import",
    ("image", "list"): "image_list",
    ("image", "show"): "image_show",
    ("image", "default"): "image_default",
    ("image", "warm"): "image_warm",
    ("image", "rename"): "image_rename",
    ("image", "delete"): "image_delete",
    ("image", "prune"): "image_prune",
    ("image", "export"): "image_export",
    ("key", "show"): "key_show",
    ("key", "rotate"): "key_rotate",
    ("daemon", "run"): "daemon_run",
    ("daemon", "start"): "daemon_start",
    ("daemon", "stop"): "daemon_stop",
    ("daemon", "status"): "daemon_status",
    ("plugin", "list"): "plugin_list",
    ("plugin", "show"): "plugin_show",
    ("config", "show"): "config_show",
    ("bench", "create"): "bench_create",
    ("bench", "images"): "bench_images",
    ("bench", "shell"): "banger.bench.shell",
    ("events",): "events",
    ("apply",): "banger.stack.apply_command",
    ("stack", "list"): "banger.stack.list_command",
    ("stack", "show"): "banger.stack.show_command",
    ("stack", "down"): "banger.stack.down_command",
    ("run",): "banger.batch.command",
    ("tui",): "banger.tui.command",
    ("doctor",): "doctor",
    ("repl",): "banger.repl.command",
    ("help",): "banger.cli.help",
    ("schema",): "banger.cli.schema",
    ("completion",): "banger.cli.completion",
    ("complete",): "banger.cli.complete_line",
    ("version",): "version",
}


HIDDEN = frozenset({("complete",)})
"""Commands for programs, left out of lists and of help."""


def load(path: tuple[str, ...]) -> Command:
    module = MODULES[path]
    command = import_module(module if "." in module else f"banger.commands.{module}").COMMAND
    assert isinstance(command, Command)
    return command
