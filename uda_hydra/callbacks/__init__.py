"""Those who watch a training: progress, pictures, tracking."""
