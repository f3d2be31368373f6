"""The commands of ``backbone``, one module each; nothing heavy is imported before a command runs."""
