"""What ran, where and when: run by run, and gathered by image."""
