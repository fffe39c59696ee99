"""Rules by which loans are granted: the code that travels with the model."""
