"""Training of the bundled pose lifter: captured motion, seen as the bundled networks see it."""
