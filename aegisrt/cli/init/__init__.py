"""What `aegisrt init` writes and prints."""
