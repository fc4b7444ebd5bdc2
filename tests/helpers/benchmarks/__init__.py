"""Small folders in the exact raw formats of the public benchmarks, of a scene whose answers are known."""
