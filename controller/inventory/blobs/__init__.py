"""Raw bytes by their digest: compressed where that is smaller, large ones in files, read back to the byte."""
