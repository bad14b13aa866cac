"""Internal modules of the text adapter."""
