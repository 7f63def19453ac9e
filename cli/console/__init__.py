"""What the commands share: options, exits, tables and lines of output."""
