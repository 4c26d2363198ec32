"""Those that watch a training and never touch it: progress, pictures."""
