"""From a file on disk to what the network eats: decoding, finding and following people, resizing and cropping."""
