"""Files and output of `aegisrt init`."""
