"""A realistic estate of any size, from a seed: a year of images, pods and decisions, of which every answer is known.

`facts` says what an estate is made of, `world` and `history` invent one, `leaves` and `documents` write it down as
Assay does, `load` puts it into an inventory. `oracle` answers the inventory's questions from the facts alone.
"""
