"""The host's side of the guest agent's protocol (docs/agent-protocol.md).

All that comes from a guest is hostile: sizes are capped, replies are checked by schema,
every wait has a deadline of its caller's. May import: host, model, kernel.
"""
