"""What a run is: its stages, its identity, where its files lie."""
