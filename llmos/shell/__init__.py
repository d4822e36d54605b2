"""What people see: the interactive shell, one-off tasks, and views of the journal."""
