"""Model packages in an MLflow registry: registered, named by aliases, fetched, taken back.

MLflow is an extra and takes seconds to import, so only functions import it.
"""
