"""What every room uses and none owns: files, memory, devices, processes, colours, progress."""
