"""What a run's record tells a person and a machine: checks, outcome in words, and the files that show them."""
