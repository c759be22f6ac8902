"""The scripts that run on the target, run here by the BusyBox that they run with there."""
