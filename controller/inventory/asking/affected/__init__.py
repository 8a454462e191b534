"""The blast radius of what turned out bad: the images that rest on it, their runs, and decisions that let them in."""
