"""The rules of single kinds, one file each; `Strategy` says what they may override."""
