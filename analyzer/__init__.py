"""The inference analyzer: measures models on datasets, and says which deserves to be served."""
