"""Who is in the clip: detection, segmentation and tracking, from prompts or on their own."""
