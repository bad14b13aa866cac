"""Services around the library: safe writing of files, locks, memory, processes, progress, the Hub."""
