"""`multiseq init`: look at files, guess what is in them, and write a recipe with comments."""
