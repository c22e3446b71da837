"""Tests mirror the sources path for path."""
