"""The command line of Sketchseek."""
