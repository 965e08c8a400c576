"""The command line: reads arguments and configuration, then calls into tailrace.gateway."""
