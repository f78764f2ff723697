"""What the other modules stand on: checks, mechanisms, results."""
