"""What Parley costs in time, measured as ratios against named baselines in the same run."""
