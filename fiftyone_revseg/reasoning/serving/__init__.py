"""Asking a server: its address and key, requests that may fail, and what comes back."""
