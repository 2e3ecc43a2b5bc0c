"""The command line: each command a thin door into one room."""
