"""What devices saw, against what the release was tested on."""
