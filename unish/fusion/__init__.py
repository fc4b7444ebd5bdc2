"""Many passes become one world: windows, intrinsics, alignment, loop closure, gravity, motion."""
