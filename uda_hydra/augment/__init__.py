"""Views of an image: geometry as values, photometric operations, mixing, masks."""
