"""Tests of cellml; the folders mirror the package."""
