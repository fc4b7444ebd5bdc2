"""What the demo needs beside unish: bounds for uploads, picking people on a picture, keeping results for a while."""
