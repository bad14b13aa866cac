"""What is asked of the operating system: files written whole, locks on folders, memory, processes."""
