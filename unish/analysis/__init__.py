"""Read-only views of a Reconstruction: summary, fit report, interpolation in time."""
