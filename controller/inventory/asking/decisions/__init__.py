"""What was decided, by which policies and exceptions, and what a policy would refuse of what runs."""
