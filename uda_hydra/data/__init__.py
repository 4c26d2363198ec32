"""Data sets on disk, their labels, and the streams made of them."""
