"""A synthetic world: procedural rooms and streets with moving people, rendered on the CPU with exact labels."""
