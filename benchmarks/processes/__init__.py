"""What runs inside a measured process: nothing here is imported but by that process."""
