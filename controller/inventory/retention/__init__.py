"""How long what was recorded is kept: rules by class of data, legal holds, and the dropping of what is older."""
