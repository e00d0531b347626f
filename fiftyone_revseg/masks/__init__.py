"""Masks and boxes as values: run lengths, tracks through a video, pictures of them."""
