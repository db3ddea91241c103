"""Least privilege, proved both ways: what functions call is allowed, and what they are allowed is called."""
