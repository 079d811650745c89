"""The Discord front end: commands, reactions and replies in; pictures and notes out."""
