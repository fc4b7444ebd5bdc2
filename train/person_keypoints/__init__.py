"""The bundled keypoint network and its training: crops of rendered and real people."""
