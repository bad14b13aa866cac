"""Internal modules of the speech adapter."""
