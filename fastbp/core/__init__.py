"""What everything stands on: errors, checks of arguments, memory, the machine."""
