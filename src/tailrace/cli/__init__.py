"""The command line: reads arguments and configuration, then calls into tailrace.gateway or tailrace.workers.

The parser     main, with the exit codes; options: what several commands share, and the way to a Config
Commands       serve, and config with the same options (access: what both look at); demo, tail, bench, token
For them       logs, and progress for bench; worker is what `serve --workers` starts
"""
