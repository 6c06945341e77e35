"""Types that every layer shares; imports nothing else of AegisRT."""
