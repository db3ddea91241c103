"""Command-line tools for whoever operates an environment, on AWS or in the sandbox; one module per command."""
