"""The words of the product as frozen values. Nothing here does I/O, and nothing here imports a foreign library."""
