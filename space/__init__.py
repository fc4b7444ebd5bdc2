"""What the demo needs beside unish: bounds for uploads, picking people on an image, keeping results for a while."""
