"""Services of the operating system: safe writing of files, locks on folders, memory, processes."""
