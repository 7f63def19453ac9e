"""The command `weightzoo`: one thin file for each sub-command (parse, call one library function, print)."""
