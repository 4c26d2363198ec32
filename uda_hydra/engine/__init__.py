"""What trains and scores any method."""
