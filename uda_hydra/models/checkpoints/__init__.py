"""Weight files: reading every official layout, filling a network, and writing them back.

``layouts`` holds the names, ``containers`` the structures around them; the rest reads these tables.
"""
