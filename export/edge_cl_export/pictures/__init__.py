"""Pictures to calibrate and to judge on: read, parted, changed, distilled."""
