"""Bodies fitted to the clip's own evidence: boxes, masks, depth points, keypoints, feet and the frames' true times."""
