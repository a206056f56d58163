"""NAT, egress rules and published ports for banger's VMs."""
