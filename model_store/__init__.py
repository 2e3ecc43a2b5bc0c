"""What a model is: on disk (a package), in a store, and by name."""
