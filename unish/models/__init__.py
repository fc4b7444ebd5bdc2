"""The network: configuration, scene branch (π³), human branch (CameraHMR), AlignNet, and how weights come in."""
