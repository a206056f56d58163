"""The argument line: one of the faces of `banger.commands`."""
