"""Where weights are: on the device, in the host's memory, in their files."""
