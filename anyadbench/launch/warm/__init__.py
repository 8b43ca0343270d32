"""Workers forked from a process that has imported what every worker imports."""
