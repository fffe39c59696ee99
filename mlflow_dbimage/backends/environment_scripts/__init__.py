"""What the Python of a packed environment runs while an image is built: Python 3.7 and newer, standard library."""
